"""Writes a run, one file for each part of it; `recorder.py` puts them together."""
