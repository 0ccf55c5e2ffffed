"""Where the export of a run goes: the path behind a sink of the pipeline's settings."""

from pathlib import Path

from elspeth.core.config import ElspethSettings, SettingsError


def export_target(settings: ElspethSettings, sink: str | None, export_format: str) -> Path:
    """Return the file of a json export, or the directory of a csv one.

    Raises SettingsError when the sink is unknown, has no path, or one that does not fit the format.
    """
    path = _sink_path(settings, sink)
    if export_format == "json":
        if path.suffix != ".jsonl":
            raise SettingsError(
                f"The export sink {sink!r} writes {path.name}, but a json export is JSON "
                f"Lines: name it {path.with_suffix('.jsonl').name}"
            )
        return path
    # audit.v2.csv stands for the directory audit.v2.
    return path.with_suffix("")


def _sink_path(settings: ElspethSettings, name: str | None) -> Path:
    sink = settings.sinks.get(name or "")
    if sink is None:
        raise SettingsError(f"The export sink {name!r} is not among the sinks")
    path = sink.options.get("path")
    if not isinstance(path, str) or not path:
        raise SettingsError(f"The export sink {name!r} has no path among its options")
    return Path(path)
