"""Canonical JSON."""

from typing import Any

import rfc8785


def canonical_json(value: Any) -> str:
    """Return a value as canonical JSON, as RFC 8785 defines it."""
    return rfc8785.dumps(value).decode()
