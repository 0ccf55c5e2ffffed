"""Canonical JSON: a value to the one text, and the one hash, that it always has.

A value is first normalised (datetimes to UTC text, bytes to base64, scalars of numpy and pandas
to Python's own) and then serialised by RFC 8785. What neither step knows is refused, never guessed.
"""

import base64
import hashlib
import math
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias, cast

import rfc8785

CANONICAL_VERSION = "sha256-rfc8785-v1"
"""Names the hash and the text it is taken of; a run stores it beside its hashes."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


def canonical_bytes(obj: object) -> bytes:
    """Serialise a value as UTF-8 canonical JSON (RFC 8785), after normalising it.

    Raises:
        ValueError: a number that is not finite, an integer beyond 2^53 - 1 either way, a lone
            surrogate, a key that is not text, or a type that has no canonical form.
    """
    # What was left as it is may be of any type: the serialiser refuses it.
    return rfc8785.dumps(cast("JsonValue", _normalize_for_canonical(obj)))


def canonical_json(obj: object) -> str:
    """Serialise a value as canonical JSON text; refuses what `canonical_bytes` does."""
    return canonical_bytes(obj).decode("utf-8")


def stable_hash(obj: object, version: str = CANONICAL_VERSION) -> str:
    """Hash a value's canonical JSON: SHA-256, 64 lower-case hex digits.

    `version` is accepted so that callers can say which hash they rely on; there is only one.
    """
    return hashlib.sha256(canonical_bytes(obj)).hexdigest()


def _normalize_for_canonical(data: object) -> object:
    """Normalise what dicts (not their keys), lists and tuples hold, at any depth."""
    if isinstance(data, dict):
        return {key: _normalize_for_canonical(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_normalize_for_canonical(value) for value in data]
    return _normalize_value(data)


def _normalize_value(obj: object) -> object:
    """Give the plain JSON value that stands for one value; leave an unknown type as it is."""
    if obj is None or isinstance(obj, str | int):
        return obj
    if isinstance(obj, float):
        return _finite(obj)
    if isinstance(obj, bytes):
        return {"__bytes__": base64.b64encode(obj).decode("ascii")}
    if isinstance(obj, Decimal):
        return _decimal_text(obj)
    if _is_missing(obj):
        return None
    if isinstance(obj, datetime):
        return _in_utc(obj)
    return _from_numpy(obj)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(_not_finite(number))
    return float(number)


def _decimal_text(number: Decimal) -> str:
    if not number.is_finite():
        raise ValueError(_not_finite(number))
    return str(number)


def _not_finite(number: float | Decimal) -> str:
    return f"Cannot canonicalize the non-finite number {number}: JSON has none"


def _in_utc(moment: datetime) -> str:
    """Give ISO text with +00:00; a naive time is taken as UTC. Serves pandas' Timestamp as well."""
    if moment.utcoffset() is None:
        return moment.replace(tzinfo=UTC).isoformat()
    return moment.astimezone(UTC).isoformat()


def _is_missing(obj: object) -> bool:
    """Say whether a value is pandas' NA or NaT; NaT passes for a datetime."""
    pandas = sys.modules.get("pandas")
    return any(obj is getattr(pandas, name, None) for name in ("NA", "NaT"))


def _from_numpy(obj: Any) -> object:
    """Give a numpy scalar as Python's own, and an array as a list; leave the rest as it is.

    A narrow float widens: float32's 0.1 becomes 0.10000000149011612. The argument is Any because
    numpy is no dependency, so its types are unknown here.
    """
    if _is_numpy(obj, "floating"):
        return _finite(float(obj))
    if _is_numpy(obj, "integer"):
        return int(obj)
    if _is_numpy(obj, "bool_"):
        return bool(obj)
    if _is_numpy(obj, "ndarray"):
        return _normalize_for_canonical(obj.tolist())
    return obj


def _is_numpy(obj: object, kind: str) -> bool:
    """Say whether a value is of a class of numpy: never before numpy is loaded.

    Another thread may be half way through importing it: then the class is not there yet either.
    """
    return isinstance(obj, getattr(sys.modules.get("numpy"), kind, ()))
