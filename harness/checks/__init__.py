"""What is asked of a candidate: the checks, and the selftest that proves them."""
