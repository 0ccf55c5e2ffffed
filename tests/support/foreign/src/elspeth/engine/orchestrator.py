"""The export at the end of a run."""

from elspeth.core.landscape import JSONFormatter, LandscapeDB, LandscapeExporter


def export_after_run(db: LandscapeDB, run_id: str, signing_key: bytes | None = None) -> str:
    """Return the export of a run as JSON, signed if there is a key."""
    exporter = LandscapeExporter(db, signing_key=signing_key)
    return JSONFormatter().format(exporter.export_run(run_id, sign=signing_key is not None))
