"""Trials: everything a candidate is put through, and the faults that prove it is enough."""
