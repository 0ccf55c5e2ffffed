"""Compare two exports and report the first difference."""
