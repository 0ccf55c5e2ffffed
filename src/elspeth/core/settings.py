"""Settings of the audit trail: read from strict YAML, overridden by environment variables.

A variable has the prefix `ELSPETH_` and two underscores between levels, so
ELSPETH_LANDSCAPE__EXPORT__SIGN=true sets landscape.export.sign.
"""

import os
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, Self
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from elspeth.core.compression import Compression
from elspeth.core.error_text import one_line
from elspeth.core.strict_yaml import StrictYamlError, read_yaml

ENVIRONMENT_PREFIX = "ELSPETH_"
LEVEL_SEPARATOR = "__"

_CSV_SUFFIX = ".csv"
_JSONL_SUFFIX = ".jsonl"


class SettingsError(ValueError):
    """Unusable settings: one line with the file, and the key or variable that is wrong."""

    def __init__(self, message: str) -> None:
        # A key of the file is quoted, and may hold a line break or a terminal's control codes.
        super().__init__(one_line(message))


class _Settings(BaseModel):
    # Errors must not show values, because a URL may hold a password.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class LandscapeExportSettings(_Settings):
    """The export after a completed run; `sink` names one of the pipeline's sinks."""

    enabled: bool = False
    """Whether a run is exported."""
    sink: str | None = None
    """The name of the sink to export to; required when the export is enabled."""
    format: Literal["csv", "json"] = "csv"
    """A directory of CSV files, or a file of JSON Lines."""
    compress: Literal["gzip", "zstd"] | None = None
    """The compression of a file of JSON Lines; the path of its sink then ends in .jsonl.gz or
    .jsonl.zst."""
    sign: bool = False
    """Whether records are signed, with the key of ELSPETH_SIGNING_KEY or --key-file."""
    leave_out: tuple[str, ...] = ()
    """Unknown tables, `table.column` and `user_version=N` that exports leave out, by name."""

    @field_validator("leave_out", mode="before")
    @classmethod
    def _names_in_text(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _compresses_one_file(self) -> Self:
        if self.compress is not None and self.format != "json":
            raise ValueError("compress is for format json; leave it out")
        return self

    @property
    def compression(self) -> Compression | None:
        """The compression of the export."""
        return None if self.compress is None else Compression(self.compress)


class LandscapeSettings(_Settings):
    """The database of the audit trail, and its export.

    Only `url` has an effect. `enabled` and `backend` are accepted for files that have them.
    """

    enabled: bool = True
    """Has no effect."""
    backend: Literal["sqlite", "postgresql"] = "sqlite"
    """Has no effect: the URL names the database."""
    url: str = Field(default="sqlite:///./runs/audit.db", repr=False)
    """The SQLAlchemy URL of the database."""
    export: LandscapeExportSettings = LandscapeExportSettings()
    """The export after a completed run."""


class SinkSettings(_Settings):
    """A sink of the pipeline: the name of its plugin, and the options for that plugin."""

    plugin: str
    """The name of the plugin."""
    options: Mapping[str, object] = Field(default_factory=dict, repr=False)
    """The options of the plugin. Of them, an export reads `path`: a local path, which ends in
    .jsonl for json, or .jsonl.gz or .jsonl.zst if that is compressed, and may end in .csv for the
    directory of CSV files."""


class ElspethSettings(_Settings):
    """The sections of a pipeline's settings that the audit trail reads."""

    landscape: LandscapeSettings = LandscapeSettings()
    """The audit trail."""
    sinks: Mapping[str, SinkSettings] = Field(default_factory=dict)
    """The sinks, by name."""

    @model_validator(mode="after")
    def _export_sink_exists(self) -> "ElspethSettings":
        export = self.landscape.export
        if not export.enabled:
            return self
        if export.sink is None:
            raise ValueError("landscape.export.sink is required when export is enabled")
        if export.sink not in self.sinks:
            available = ", ".join(sorted(self.sinks)) or "none"
            raise ValueError(
                f"landscape.export.sink {export.sink!r} is not among the sinks; "
                f"available: {available}"
            )
        return self


def split_names(text: str) -> list[str]:
    """Split names at commas, except within double quotes. Names are stripped, and may be empty.

    Quotes are paired from the end.
    """
    # Not a regular expression that looks ahead from each comma: that takes quadratic time.
    parts = text.split('"')
    names = [""]
    for index, part in enumerate(parts):
        is_quoted = (len(parts) - 1 - index) % 2 == 1
        first, *others = [part] if is_quoted else part.split(",")
        names[-1] += first if index == 0 else f'"{first}'
        names += others
    return [name.strip() for name in names]


def load_settings(
    path: str | PathLike[str], *, environ: Mapping[str, str] | None = None
) -> ElspethSettings:
    """Read settings from a YAML file, overridden by environment variables.

    The text of a variable is converted to true, false or a number where a setting asks for one.
    Keys outside the audit trail are ignored. An unknown key inside `landscape` is refused, so that
    a mistyped `sign` cannot leave an export unsigned.

    Args:
        path: the YAML file.
        environ: the environment; by default that of the process.

    Raises:
        SettingsError: the file or a variable cannot be used.
    """
    try:
        settings = _read_sections(path)
        _override(settings, os.environ if environ is None else environ)
        unknown = list(_unknown_keys(LandscapeSettings, settings.get("landscape"), "landscape"))
        if unknown:
            raise SettingsError(f"{path}: {'; '.join(unknown)}")
        return ElspethSettings.model_validate(settings)
    except StrictYamlError as error:
        raise SettingsError(str(error)) from error
    except ValidationError as error:
        raise SettingsError(f"{path}: {'; '.join(_problems(error))}") from error


def export_destination(settings: ElspethSettings, sink: str | None, export_format: str) -> Path:
    """Return the target of an export: a file for json, a directory for csv.

    Args:
        settings: the pipeline's settings, whose sinks hold the paths.
        sink: the name of the sink to export to.
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
    path = _sink_path(sink, option, export_format)
    if export_format == "json":
        _check_suffix(sink, path, settings.landscape.export.compression)
    for name, other in settings.sinks.items():
        if name != sink and _leads_to(path, other, export_format) and other != chosen:
            raise SettingsError(
                f"The export sinks {sink!r} and {name!r} both lead to {path}: an export to one of "
                "them would replace what the other has written; give them different paths"
            )
    return path


def _sink_path(sink: str | None, option: str, export_format: str) -> Path:
    """Return the place that a sink's path names. Raises SettingsError if it names no other one."""
    if "://" in option:
        raise SettingsError(f"The export sink {sink!r} names a URL, {option}; name a local path")
    # A directory is named with or without a slash, but a file is not.
    is_folder = option.endswith(("/", "/.", "/..")) or option in (".", "..")
    path = Path(option)
    if export_format == "json":
        if is_folder:
            raise SettingsError(
                f"The export sink {sink!r} names a directory, {option}; name a .jsonl file"
            )
        if _compression_by_name(path) is None and path.suffix != _JSONL_SUFFIX:
            raise SettingsError(
                f"The export sink {sink!r} writes {path.name}, but a json export is JSON "
                f"Lines: name it {path.with_suffix(_JSONL_SUFFIX).name}"
            )
        return path
    if is_folder and path.name.endswith(_CSV_SUFFIX):
        raise SettingsError(
            f"The export sink {sink!r} names {option}, with a slash: write "
            f"{option.rstrip('/.')} for the directory {path.stem}"
        )
    # Only this suffix is removed: in out.v1, the rest would name the directory of out.v2 as well.
    name = path.name.removesuffix(_CSV_SUFFIX)
    if name in ("", ".", ".."):
        raise SettingsError(f"The export sink {sink!r} names no directory to write: {option}")
    return path.with_name(name)


def _check_suffix(sink: str | None, path: Path, compression: Compression | None) -> None:
    """Refuse a file whose name says another compression than the export has."""
    named = _compression_by_name(path)
    if named is compression:
        return
    plain = path.name if named is None else path.name.removesuffix(named.suffix)
    if compression is None:
        raise SettingsError(
            f"The export sink {sink!r} writes {path.name}, but landscape.export.compress is not "
            f"set: name it {plain}, or set compress"
        )
    raise SettingsError(
        f"The export sink {sink!r} writes {path.name}, but landscape.export.compress is "
        f"{compression.value}: name it {plain}{compression.suffix}"
    )


def _compression_by_name(path: Path) -> Compression | None:
    """Return the compression that the name of a JSON Lines file says."""
    return next(
        (each for each in Compression if path.name.endswith(f"{_JSONL_SUFFIX}{each.suffix}")), None
    )


def _leads_to(path: Path, sink: SinkSettings, export_format: str) -> bool:
    """Whether an export to a sink would be written to `path`."""
    option = sink.options.get("path")
    if not isinstance(option, str):
        return False
    try:
        other = _sink_path(None, option, export_format)
        # The last name is compared as it is, since a link there is replaced and not followed.
        return _is_same_folder(path.parent, other.parent) and _is_same_name(path, other)
    except (SettingsError, OSError, ValueError, RuntimeError):
        return False


def _is_same_folder(folder: Path, other: Path) -> bool:
    """Whether two paths are one folder, also by another case of its name or a bind mount."""
    if folder.resolve() == other.resolve():
        return True
    return folder.exists() and other.exists() and folder.samefile(other)


def _is_same_name(path: Path, other: Path) -> bool:
    """Whether two paths in one folder are one place, also where a file system folds names."""
    if path.name == other.name:
        return True
    # Some file systems take Audit for audit, or one form of é for the other. Whether this one does
    # is seen as soon as there is something to replace.
    names = {normalize("NFC", each.name).casefold() for each in (path, other)}
    return len(names) == 1 and path.exists() and other.exists() and path.samefile(other)


def _read_sections(path: str | PathLike[str]) -> dict[str, object]:
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected a mapping with sections such as landscape and sinks")
    return content


def _override(settings: dict[str, object], environ: Mapping[str, str]) -> None:
    """Write the variables that name a setting into the settings."""
    # Only those that start with the name of a section: ELSPETH_SIGNING_KEY shares the prefix and
    # must never become a setting, because settings are stored and shown.
    for variable in sorted(environ):
        levels = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split(LEVEL_SEPARATOR)
        if variable.startswith(ENVIRONMENT_PREFIX) and levels[0] in ElspethSettings.model_fields:
            section = _section(settings, levels[:-1], variable=variable)
            section[_key_in_file(section, levels[-1])] = environ[variable]


def _section(settings: dict[str, object], levels: list[str], *, variable: str) -> dict[str, object]:
    """Return the section at the end of some levels; create missing sections."""
    section = settings
    for level in levels:
        key = _key_in_file(section, level)
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{variable}: {key} holds a value in the file, not a section")
        section = inner
    return section


def _key_in_file(section: Mapping[str, object], level: str) -> str:
    """Return a key as the file spells it; a variable's upper case does not tell the spelling."""
    return next((key for key in section if str(key).lower() == level), level)


def _unknown_keys(model: type[BaseModel], section: object, path: str) -> Iterator[str]:
    """Yield a message for every key of a section, and of its subsections, that is not a setting."""
    # pydantic's extra="forbid" could refuse them, but its message does not list the known keys.
    for key, value in section.items() if isinstance(section, dict) else ():
        field = model.model_fields.get(key)
        if field is None:
            yield f"{path}.{key} is not a setting; {path} has: {', '.join(model.model_fields)}"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _unknown_keys(field.annotation, value, f"{path}.{key}")


def _problems(error: ValidationError) -> Iterator[str]:
    """Yield one message for every wrong value."""
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(level) for level in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        yield f"{key}: {message}" if key else message
