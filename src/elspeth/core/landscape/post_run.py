"""The export that follows a pipeline run: settings -> export -> export_status."""

import os
from collections.abc import Mapping
from pathlib import Path

from elspeth.contracts import ExportStatus
from elspeth.core.clock import Clock, utc_now
from elspeth.core.config import ElspethSettings
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.files import PublishedExport
from elspeth.core.landscape.keys import signing_key
from elspeth.core.landscape.recorder import LandscapeRecorder


def export_after_run(
    db: LandscapeDB,
    run_id: str,
    settings: ElspethSettings,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock = utc_now,
) -> PublishedExport | None:
    """Export a run that has just ended as its settings say; None when they ask for no export.

    The run's export_status goes from pending to completed, or to failed with the error, which is
    then raised again; the run's own status stays as it is. The signing key is read from
    `environ` (default: the process's) now, not when settings are loaded.
    """
    export = settings.landscape.export
    if not export.enabled:
        return None
    recorder = LandscapeRecorder(db, clock=clock)
    recorder.set_export_status(
        run_id, ExportStatus.PENDING, export_format=export.format, export_sink=export.sink
    )
    try:
        published = _export(db, run_id, settings, os.environ if environ is None else environ, clock)
    except Exception as error:
        recorder.set_export_status(run_id, ExportStatus.FAILED, error=str(error))
        raise
    recorder.set_export_status(run_id, ExportStatus.COMPLETED)
    return published


def _export(
    db: LandscapeDB,
    run_id: str,
    settings: ElspethSettings,
    environ: Mapping[str, str],
    clock: Clock,
) -> PublishedExport:
    export = settings.landscape.export
    path = _sink_path(settings)
    key = signing_key(environ) if export.sign else None
    exporter = LandscapeExporter(db, key, clock=clock)
    if export.format == "json":
        if path.suffix != ".jsonl":
            raise ValueError(
                f"The export sink {export.sink!r} writes {path.name}, but a json export is JSON "
                f"Lines: name it {path.with_suffix('.jsonl').name}"
            )
        return exporter.write_jsonl(run_id, path, sign=export.sign)
    # audit.v2.csv stands for the directory audit.v2.
    return exporter.write_csv(run_id, path.with_suffix(""), sign=export.sign)


def _sink_path(settings: ElspethSettings) -> Path:
    name = settings.landscape.export.sink
    sink = settings.sinks.get(name or "")
    if sink is None:
        raise ValueError(f"The export sink {name!r} is not among the sinks")
    path = sink.options.get("path")
    if not isinstance(path, str) or not path:
        raise ValueError(f"The export sink {name!r} has no path among its options")
    return Path(path)
