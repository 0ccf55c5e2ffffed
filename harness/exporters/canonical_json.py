"""Canonical JSON (RFC 8785) of a record, written fast where that is exact."""

from collections.abc import Mapping
from typing import Any

import orjson
import rfc8785

_PLAIN_FROM, _PLAIN_TO = 1e-3, 1e15
"""Floats between these are written without an exponent."""

_MOST = 2**53
"""Integers from here on are refused."""


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a record.

    Raises:
        rfc8785.CanonicalizationError: RFC 8785 has no form of a value.
    """
    # orjson is about ten times as fast as rfc8785. Its output is the same but for keys outside
    # ASCII, for large integers, for floats that are whole numbers, and for floats that are written
    # with an exponent.
    plain = dict(record)
    for name, value in record.items():
        kind = type(value)
        is_plain = (
            type(name) is str
            and name.isascii()
            and (
                value is None
                or kind is str
                or kind is bool
                or (kind is int and -_MOST < value < _MOST)
                or (kind is float and _PLAIN_FROM <= abs(value) < _PLAIN_TO)
            )
        )
        if not is_plain:
            return rfc8785.dumps(dict(record))
        if kind is float and value.is_integer():
            plain[name] = int(value)
    try:
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # Half of a surrogate pair, which rfc8785 names in its error.
        return rfc8785.dumps(dict(record))
