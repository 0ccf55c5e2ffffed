"""Formatters that show a record as JSON text or as the flat fields of a CSV row.

They are for display. Export files are not written with them: their lines are canonical JSON.
"""

import json
from collections.abc import Mapping
from typing import Protocol


class ExportFormatter(Protocol):
    """Turns a record into text, or into flat fields by name."""

    def format(self, record: Mapping[str, object]) -> str | dict[str, object]:
        """Return the formatted record."""


class JSONFormatter:
    """Formats a record as JSON, keys in their order. Signatures cover canonical JSON, not this."""

    def format(self, record: Mapping[str, object]) -> str:
        """Return JSON as `json.dumps` writes it by default, with non-ASCII characters escaped."""
        # default=str, as in the original: a datetime has a blank instead of the T of ISO 8601.
        return json.dumps(record, default=str)


class CSVFormatter:
    """Formats a record as flat fields for `csv`, which writes None as an empty field."""

    def format(self, record: Mapping[str, object]) -> dict[str, object]:
        """Return the flat fields of one record."""
        return self.flatten(record)

    def flatten(self, record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
        """Turn nested dicts into dotted keys, and lists into JSON text.

        An empty nested dict leaves no field. Of two keys with the same dotted name the later wins.

        Args:
            record: The record.
            prefix: Put before every key, with a dot.

        Raises:
            TypeError: A list holds a type that JSON lacks.
        """
        fields: dict[str, object] = {}
        for key, value in record.items():
            name = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict):
                fields.update(self.flatten(value, name))
            else:
                fields[name] = json.dumps(value) if isinstance(value, list) else value
        return fields
