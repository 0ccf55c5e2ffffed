"""Write records as text."""

import csv
import json
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any


class JSONFormatter:
    """Writes one array of records."""

    def format(self, records: Iterable[Mapping[str, Any]]) -> str:
        """Return the records as JSON."""
        return json.dumps([dict(each) for each in records], indent=2)


class CSVFormatter:
    """Writes a table of the records of one type."""

    def format(self, records: Iterable[Mapping[str, Any]]) -> str:
        """Return the records as CSV."""
        rows = [dict(each) for each in records]
        text = StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
