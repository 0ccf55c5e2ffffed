"""What to write instead: the repair of queries in a loop, in words and code."""
