"""Exports on disk, published whole or not at all; no knowledge of fields, order or signing."""
