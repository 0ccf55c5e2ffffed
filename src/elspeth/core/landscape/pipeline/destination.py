"""The path that the settings of a pipeline give to the export of a run."""

from pathlib import Path

from elspeth.core.settings import ElspethSettings, SettingsError


def export_destination(settings: ElspethSettings, sink: str | None, export_format: str) -> Path:
    """Return the file of a json export, or the directory of a csv export.

    Args:
        settings: the pipeline's settings, whose sinks hold the paths.
        sink: the name of the sink that is exported to.
        export_format: "json" or "csv".

    Raises:
        SettingsError: the sink is unknown, has no path, or has one that does not fit the format.
    """
    chosen = settings.sinks.get(sink or "")
    if chosen is None:
        raise SettingsError(f"The export sink {sink!r} is not among the sinks")
    option = chosen.options.get("path")
    if not isinstance(option, str) or not option:
        raise SettingsError(f"The export sink {sink!r} has no path among its options")
    path = Path(option)
    if export_format == "json":
        if path.suffix != ".jsonl":
            raise SettingsError(
                f"The export sink {sink!r} writes {path.name}, but a json export is JSON "
                f"Lines: name it {path.with_suffix('.jsonl').name}"
            )
        return path
    # Only the last suffix goes: audit.v2.csv stands for the directory audit.v2.
    return path.with_suffix("")
