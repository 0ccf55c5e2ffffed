"""Formatters that show a record as JSON text or as the flat fields of a CSV row.

They are for display. Export files are not written with them: their lines are canonical JSON.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Protocol


class ExportFormatter(Protocol):
    """Turns a record into text, or into flat fields by name."""

    def format(self, record: Mapping[str, object]) -> str | dict[str, object]:
        """Return the formatted record."""


class JSONFormatter:
    """Formats a record as JSON, keys in their order. Signatures cover canonical JSON, not this."""

    def format(self, record: Mapping[str, object]) -> str:
        """Return JSON as `json.dumps` writes it by default, with non-ASCII characters escaped.

        A datetime has a blank in place of the T of ISO 8601, as in the original.

        Raises:
            TypeError: A value has a type that JSON lacks, or a key is not text.
            ValueError: A number is not finite.
        """
        return _json(record)


class CSVFormatter:
    """Formats a record as flat fields for `csv`, which writes None as an empty field."""

    def format(self, record: Mapping[str, object]) -> dict[str, object]:
        """Return the flat fields of one record. Raises what `flatten` raises."""
        return self.flatten(record)

    def flatten(self, record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
        """Turn nested dicts into dotted keys, and lists into JSON text.

        An empty nested dict leaves no field.

        Args:
            record: The record.
            prefix: Put before every key, with a dot.

        Raises:
            TypeError: A list holds a type that JSON lacks, or a key is not text.
            ValueError: Two values would have the same dotted key, or a number is not finite.
        """
        fields: dict[str, object] = {}
        for key, value in record.items():
            _require_text(key)
            name = f"{prefix}.{key}" if prefix else key
            nested = self.flatten(value, name) if isinstance(value, dict) else {name: _field(value)}
            # One of the two values would be lost without a sign.
            if twice := fields.keys() & nested.keys():
                raise ValueError(f"Two values of the record have the field {min(twice)!r}")
            fields |= nested
        return fields


def _field(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"A field cannot be {value}: it is not a finite number")
    return _json(value, datetimes=False) if isinstance(value, list) else value


def _json(value: object, *, datetimes: bool = True) -> str:
    _require_text_keys(value)

    def convert(other: object) -> str:
        if datetimes and isinstance(other, datetime):
            return str(other)
        raise TypeError(f"JSON has no form for {type(other).__name__} {other!r}")

    return json.dumps(value, default=convert, allow_nan=False)


def _require_text_keys(value: object) -> None:
    """Refuse keys that are not text: json makes text of them, and two keys may become one."""
    if isinstance(value, dict):
        for key in value:
            _require_text(key)
        _require_text_keys(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            _require_text_keys(item)


def _require_text(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"A key of a record is text, not {type(key).__name__} {key!r}")
