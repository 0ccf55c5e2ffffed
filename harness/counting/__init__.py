"""Counting: what an engine and its driver are seen to do, in exact numbers."""
