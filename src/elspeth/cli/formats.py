"""What `landscape export` can be asked for: file formats and exporters."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """The file format of an export."""

    JSONL = "jsonl"
    CSV = "csv"


class ExporterName(StrEnum):
    """The exporter that writes."""

    BATCHED = "batched"
    LEGACY = "legacy"
