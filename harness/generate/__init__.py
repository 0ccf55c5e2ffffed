"""Generate runs: the contents of a database from a spec."""
