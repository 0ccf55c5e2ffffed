"""Output that a page shows, as a pattern for what a command prints."""

import re


def as_pattern(line: str) -> str:
    """Return a pattern for a shown line; `*` stands for what differs between machines."""
    return r"(E\s+.*|)" + ".*".join(map(re.escape, line.split("*")))
