"""The checks that a candidate has to pass, and the selftest of these checks."""
