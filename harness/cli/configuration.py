"""The saved configuration of a candidate: where it is, how it is opened, and what it costs.

It is the table `[tool.landscape-harness]` of a pyproject.toml, or a small TOML file with the same
keys at its top. Options of a command go before it.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

TABLE = "landscape-harness"
"""The name of the table below `[tool]` of a pyproject.toml."""

_Text = Annotated[str, Field(strict=True, pattern=r"\S")]
_Count = Annotated[int, Field(strict=True, ge=1)]


class ConfigurationError(ValueError):
    """The saved configuration cannot be used. The message names the file and the key."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


_FORMS = ("constrained-int", "str")


class Configuration(BaseModel):
    """The settings of one file; those that it lacks are None. Paths are absolute.

    Attributes:
        candidate: The exporter, as module:attribute.
        src: The directory to import it from.
        python: The interpreter or the virtual environment to run it with.
        database: The function or class that opens the database there, as module:attribute.
        chunked: By table, the number of values that it reads with one query, or a text `SIZE:ROWS`
            for one query to SIZE fetched rows of the table ROWS.
        transactions: The most transactions of an export.
        rows_per_record: The most fetched rows for a record.
        bytes_per_record: The most bytes of memory that a further record takes.
        worker_processes: Whether it starts processes.
        file: The file that they come from; None without one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=_kebab, allow_inf_nan=False
    )

    candidate: _Text | None = None
    src: _Text | None = None
    python: _Text | None = None
    database: _Text | None = None
    chunked: Mapping[str, Annotated[int, Field(strict=True, ge=2)] | str] = {}
    transactions: _Count | None = None
    rows_per_record: Annotated[float, Field(strict=True, ge=0)] | None = None
    bytes_per_record: Annotated[int, Field(strict=True, ge=0)] | None = None
    worker_processes: Annotated[bool, Field(strict=True)] | None = None
    file: Annotated[Path | None, Field(exclude=True, alias="(file)")] = None


def load_configuration(file: Path) -> Configuration:
    """Read the settings of a file: those of its table, or all of a file that is no pyproject.toml.

    Raises:
        ConfigurationError: The file cannot be read, has no such table, an unknown key or a value
            that cannot be used.
    """
    content = _read(file)
    if file.name == "pyproject.toml" or "tool" in content:
        found = content.get("tool", {})
        if not isinstance(found, dict) or TABLE not in found:
            raise ConfigurationError(f"{file} has no table [tool.{TABLE}]")
        content = found[TABLE]
    if not content:
        raise ConfigurationError(f"{file} has no settings")
    return _configuration(file, content)


def find_configuration(folder: Path) -> Configuration:
    """Return the settings of the nearest pyproject.toml of a folder or of those above it.

    A pyproject.toml without the table ends the search: it is that of another project's root.

    Raises:
        ConfigurationError: The table has an unknown key, a value that cannot be used or a name
            that is nearly the right one.
    """
    place = folder.resolve()
    for each in (place, *place.parents):
        file = each / "pyproject.toml"
        if file.is_file():
            try:
                return load_configuration(file) if _has_table(file) else Configuration()
            except PermissionError:
                return Configuration()
    return Configuration()


def _has_table(file: Path) -> bool:
    """Whether a file has the table; ConfigurationError if it has one of a similar name."""
    tool = _read(file).get("tool", {})
    names = tool if isinstance(tool, dict) else {}
    if TABLE in names:
        return True
    # Its settings would be left out unsaid, and another exporter judged.
    by_form = {_kebab(each).lower(): each for each in names}
    for near in get_close_matches(TABLE, by_form, n=1, cutoff=0.85):
        raise ConfigurationError(
            f"{file}: there is no table [tool.{by_form[near]}]; did you mean [tool.{TABLE}]?"
        )
    return False


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # Not TOML, or not UTF-8; or nested too deep.
        raise ConfigurationError(f"{file} is not TOML: {error}") from error


def _configuration(file: Path, content: object) -> Configuration:
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file}: {TABLE} is not a table")
    names = [_kebab(each) for each in Configuration.model_fields if each != "file"]
    for key in content:
        if key not in names:
            nearest = get_close_matches(key, names, n=1, cutoff=0)[0]
            raise ConfigurationError(f"{file}: there is no key {key!r}; the nearest is {nearest!r}")
    # Paths are those of the file, wherever the command is started.
    folder = file.absolute().parent
    paths = {
        key: str(folder / content[key])
        for key in ("src", "python")
        if isinstance(content.get(key), str) and _is_path(key, content[key], folder)
    }
    try:
        return Configuration(**{**content, **paths, "(file)": file})
    except ValidationError as error:
        (first, *_) = error.errors()
        # Pydantic names the form of a union too.
        key = ".".join(str(part) for part in first["loc"] if part not in _FORMS)
        raise ConfigurationError(f"{file}: {key}: {first['msg']}, not {first['input']!r}") from None


def _is_path(key: str, value: str, folder: Path) -> bool:
    """Whether a value is a path: the name of an interpreter, such as `python3.12`, is none."""
    return bool(value.strip()) and (key == "src" or "/" in value or (folder / value).exists())
