"""Generating: how a spec becomes the contents of a database."""
