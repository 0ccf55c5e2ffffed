"""Lines of output in a documentation page, as patterns for the output of a command."""

import re


def as_pattern(line: str) -> str:
    """Return a pattern for a line of a page. `*` in it matches text that differs by machine."""
    return r"(E\s+.*|)" + ".*".join(map(re.escape, line.split("*")))
