"""Canonical JSON (RFC 8785) and hashes of values: equal values have one text and one hash.

A value is normalised first: datetimes to UTC text, bytes to base64, scalars of numpy and pandas to
built-in types. rfc8785 then serialises it. A type that neither step knows is refused.
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
"""The name of the hash algorithm and of the canonical form. A run stores it with its hashes."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


def canonical_bytes(obj: object) -> bytes:
    """Normalise a value and serialise it as UTF-8 canonical JSON.

    Raises:
        ValueError: The value holds a number that is not finite, an integer beyond 2^53 - 1 in
            either direction, a lone surrogate, a key that is not text, or an unknown type.
    """
    # Normalising leaves unknown types as they are, for rfc8785 to refuse.
    return rfc8785.dumps(cast("JsonValue", _normalize_for_canonical(obj)))


def canonical_json(obj: object) -> str:
    """Return a value as canonical JSON text. Raises what `canonical_bytes` raises."""
    return canonical_bytes(obj).decode("utf-8")


def stable_hash(obj: object, version: str = CANONICAL_VERSION) -> str:
    """Return the SHA-256 of a value's canonical JSON, as 64 lower-case hexadecimal digits.

    Args:
        obj: The value.
        version: Accepted for compatibility; there is only one version, so it has no effect.
    """
    return hashlib.sha256(canonical_bytes(obj)).hexdigest()


def _normalize_for_canonical(data: object) -> object:
    """Normalise a value and, at any depth, the values in dicts, lists and tuples."""
    # Keys stay as they are: rfc8785 refuses those that are not text, and a conversion could make
    # two keys of a dict equal.
    if isinstance(data, dict):
        return {key: _normalize_for_canonical(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_normalize_for_canonical(value) for value in data]
    return _normalize_value(data)


def _normalize_value(obj: object) -> object:
    """Return the JSON value for a value that is not a container; unknown types stay as they are."""
    # The order matters: bool is an int, numpy's float64 is a float, and pandas' NaT and Timestamp
    # are datetimes. The most frequent types come first.
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
    # As text, because a float would round it. "NaN" would be valid JSON text, so it is refused
    # here: equal hashes must mean equal numbers.
    if not number.is_finite():
        raise ValueError(_not_finite(number))
    return str(number)


def _not_finite(number: float | Decimal) -> str:
    return f"Cannot canonicalize the non-finite number {number}: JSON has none"


def _in_utc(moment: datetime) -> str:
    """Return ISO text with +00:00. A naive time counts as UTC. Also takes pandas' Timestamp."""
    if moment.utcoffset() is None:
        return moment.replace(tzinfo=UTC).isoformat()
    return moment.astimezone(UTC).isoformat()


def _is_missing(obj: object) -> bool:
    """Whether a value is pandas' NA or NaT."""
    # Looked up in sys.modules, as numpy below: pandas is not a dependency, and an import would slow
    # down every command. NaT has to be found before the datetimes, because it is one of them.
    pandas = sys.modules.get("pandas")
    return any(obj is getattr(pandas, name, None) for name in ("NA", "NaT"))


def _from_numpy(obj: Any) -> object:
    """Return a numpy scalar as a built-in type and an array as a list; other types unchanged.

    A narrow float is widened: float32's 0.1 becomes 0.10000000149011612. A wide one is refused
    unless a float holds it exactly.
    """
    # The argument is Any because numpy is not a dependency, so its types are unknown here.
    if _is_numpy(obj, "generic") or _is_numpy(obj, "ndarray"):
        _refuse_without_unit(obj)
    if _is_numpy(obj, "floating"):
        number = _finite(float(obj))
        if number != obj:
            raise ValueError(f"Cannot canonicalize {obj!r}: a float would round it to {number}")
        return number
    if _is_numpy(obj, "integer"):
        return int(obj)
    if _is_numpy(obj, "bool_"):
        return bool(obj)
    if _is_numpy(obj, "ndarray"):
        return _normalize_for_canonical(obj.tolist())
    return obj


def _refuse_without_unit(obj: Any) -> None:
    # numpy gives these as integers without their unit, or as lists without their field names, so
    # that different values would have one hash. Which form it gives depends on the unit.
    if obj.dtype.kind in "MmV":
        raise ValueError(
            f"Cannot canonicalize a numpy value of {obj.dtype}, an unsupported type: "
            f"pass a datetime, a number or a dict"
        )


def _is_numpy(obj: object, kind: str) -> bool:
    """Whether a value is of a numpy class, without importing numpy."""
    # Before numpy is loaded, a value cannot be of a numpy class. While another thread imports
    # numpy, the class may be missing from the module: hence the default.
    return isinstance(obj, getattr(sys.modules.get("numpy"), kind, ()))
