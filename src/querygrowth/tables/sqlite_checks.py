"""Read the CHECKs in a CREATE TABLE statement of SQLite.

SQLite has no catalogue of them, and releases of SQLAlchemy differ in what they find in the text.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|\S""", re.DOTALL
)
_QUOTED = {'"': '"', "`": "`", "[": "]"}


def checks_in(statement: str) -> Iterator[tuple[str, str]]:
    """The names and conditions of the CHECKs, in their order; a name may be empty.

    Args:
        statement: The statement, as `sqlite_master` has it.
    """
    name, previous, depth, first = "", "", 0, 0
    for token in _TOKEN.finditer(statement):
        word = token[0]
        if word.startswith(("--", "/*")):
            continue
        if depth:  # inside of a CHECK
            depth += {"(": 1, ")": -1}.get(word, 0)
            if not depth:
                yield name, " ".join(statement[first : token.start()].split())
                name = ""
        elif word == "(" and previous.upper() == "CHECK":
            depth, first = 1, token.end()
        elif previous.upper() == "CONSTRAINT":
            closing = _QUOTED.get(word[0])
            name = word[1:-1] if closing and word.endswith(closing) else word
        elif word.upper() != "CHECK":
            name = ""
        previous = word
