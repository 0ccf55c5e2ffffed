"""Measurement: the passes an exporter is put through, in this process or another."""
