"""Exporters under measurement, in this process or in one of their own."""
