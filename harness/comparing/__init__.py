"""Comparing: two exports held side by side, and the first difference named."""
