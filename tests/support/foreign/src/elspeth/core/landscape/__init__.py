"""The audit trail of a pipeline."""

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.formatters import CSVFormatter, JSONFormatter
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import metadata

__all__ = [
    "CSVFormatter",
    "JSONFormatter",
    "LandscapeDB",
    "LandscapeExporter",
    "LandscapeRecorder",
    "metadata",
]
