"""Settings of the audit trail: where the Landscape is stored, and what is exported after a run.

They come from a YAML file, and single values from environment variables: prefix `ELSPETH_`, two
underscores between levels, so ELSPETH_LANDSCAPE__EXPORT__SIGN=true sets landscape.export.sign.
"""

import os
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elspeth.core.strict_yaml import StrictYamlError, read_yaml

ENVIRONMENT_PREFIX = "ELSPETH_"
LEVEL_SEPARATOR = "__"


class SettingsError(ValueError):
    """Settings that cannot be used; one line naming the file, and the key or variable at fault."""

    def __init__(self, message: str) -> None:
        # A key of the file may hold a line break or a terminal's control codes.
        super().__init__("".join(char if char.isprintable() else " " for char in message))


class _Settings(BaseModel):
    # Values stay out of errors, for a URL may hold a password.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class LandscapeExportSettings(_Settings):
    """What is exported once a run has completed. `sink` names one of the pipeline's sinks."""

    enabled: bool = False
    sink: str | None = None
    format: Literal["csv", "json"] = "csv"
    sign: bool = False


class LandscapeSettings(_Settings):
    """Where the audit trail is stored.

    `url` alone decides that: `enabled` and `backend` are accepted for files that have them.
    """

    enabled: bool = True
    backend: Literal["sqlite", "postgresql"] = "sqlite"
    url: str = Field(default="sqlite:///./runs/audit.db", repr=False)
    export: LandscapeExportSettings = LandscapeExportSettings()


class SinkSettings(_Settings):
    """A place that rows are written to: a plugin, and the options that it alone understands."""

    plugin: str
    options: Mapping[str, object] = Field(default_factory=dict, repr=False)


class ElspethSettings(_Settings):
    """The part of a pipeline's settings that its audit trail needs."""

    landscape: LandscapeSettings = LandscapeSettings()
    sinks: Mapping[str, SinkSettings] = Field(default_factory=dict)

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


def load_settings(
    path: str | PathLike[str], *, environ: Mapping[str, str] | None = None
) -> ElspethSettings:
    """Read settings from a YAML file, overridden by environment variables.

    `environ` defaults to the process environment. The values of variables are text, which is
    taken for true, false or a number where a setting asks for one. Keys outside the audit trail
    are ignored; an unknown key inside `landscape` is refused, so that a mistyped `sign` cannot
    leave an export unsigned.

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


def _read_sections(path: str | PathLike[str]) -> dict[str, object]:
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected a mapping with sections such as landscape and sinks")
    return content


def _override(settings: dict[str, object], environ: Mapping[str, str]) -> None:
    """Put the variables that name a setting in their places.

    Only a variable that starts with the name of a section does; ELSPETH_SIGNING_KEY shares the
    prefix and must never end up among settings, which are stored and shown.
    """
    for variable in sorted(environ):
        levels = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split(LEVEL_SEPARATOR)
        if variable.startswith(ENVIRONMENT_PREFIX) and levels[0] in ElspethSettings.model_fields:
            section = _section(settings, levels[:-1], variable=variable)
            section[_as_spelled(section, levels[-1])] = environ[variable]


def _section(settings: dict[str, object], levels: list[str], *, variable: str) -> dict[str, object]:
    """Find the section at the end of some levels, adding what is not there."""
    section = settings
    for level in levels:
        key = _as_spelled(section, level)
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{variable}: {key} holds a value in the file, not a section")
        section = inner
    return section


def _as_spelled(section: Mapping[str, object], level: str) -> str:
    """Give the file's own spelling of a key: a variable's name says nothing about its case."""
    return next((key for key in section if str(key).lower() == level), level)


def _unknown_keys(model: type[BaseModel], section: object, where: str) -> Iterator[str]:
    """Name each key of a section, and of the sections in it, that is no setting."""
    for key, value in section.items() if isinstance(section, dict) else ():
        field = model.model_fields.get(key)
        if field is None:
            yield f"{where}.{key} is no setting; {where} has: {', '.join(model.model_fields)}"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _unknown_keys(field.annotation, value, f"{where}.{key}")


def _problems(error: ValidationError) -> Iterator[str]:
    """Say on one line each what is wrong with which key."""
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(level) for level in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        yield f"{where}: {what}" if where else what
