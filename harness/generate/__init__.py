"""Generate runs: from a spec to the contents of a database."""
