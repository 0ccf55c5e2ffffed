"""Formatters: one export record as a line of JSON, or as the flat fields of a CSV row.

They serve readers; the signed file formats are canonical JSON and live elsewhere.
"""

import json
from collections.abc import Mapping
from typing import Protocol


class ExportFormatter(Protocol):
    """Whatever turns one record into text, or into flat fields by name."""

    def format(self, record: Mapping[str, object]) -> str | dict[str, object]:
        """Format one record."""


class JSONFormatter:
    """A record as JSON text in its own key order: not canonical, so not what a signature covers."""

    def format(self, record: Mapping[str, object]) -> str:
        """Write JSON as the standard library does by default, non-ASCII escaped.

        A type that JSON lacks becomes its `str()`, so a datetime has a blank for its `T`.
        """
        return json.dumps(record, default=str)


class CSVFormatter:
    """A record as flat fields: `csv` then writes None as an empty field, an enum as its value."""

    def format(self, record: Mapping[str, object]) -> dict[str, object]:
        """Flatten one record."""
        return self.flatten(record)

    def flatten(self, record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
        """Turn nested dicts into dotted keys and lists into JSON text.

        An empty nested dict leaves no field, and of two keys that come out alike the later wins.

        Raises:
            TypeError: a list holds what JSON has no form for.
        """
        fields: dict[str, object] = {}
        for key, value in record.items():
            name = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict):
                fields.update(self.flatten(value, name))
            else:
                fields[name] = json.dumps(value) if isinstance(value, list) else value
        return fields
