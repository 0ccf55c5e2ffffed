"""SchemaConfig: the fields that a node expects in its rows, read from its configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

FieldType: TypeAlias = Literal["str", "int", "float", "bool", "any"]
SchemaMode: TypeAlias = Literal["strict", "free"]

FIELD_TYPES: tuple[FieldType, ...] = get_args(FieldType)
SCHEMA_MODES: tuple[SchemaMode, ...] = get_args(SchemaMode)

_SPECIFICATION = re.compile(r"(?P<name>[^\s:]+):\s*(?P<type>[^?]+)(?P<optional>\??)")


@dataclass(frozen=True)
class FieldDefinition:
    """One field: its name, its type, and whether a row must have it."""

    name: str
    field_type: FieldType
    required: bool = True

    @classmethod
    def parse(cls, text: str) -> "FieldDefinition":
        """Parse `name: type`, or `name: type?` for a field that may be absent.

        A name consists of word characters and does not start with a digit. No blank may stand
        before the colon.

        Raises:
            ValueError: The text has a different form; the message quotes it.
        """
        match = _SPECIFICATION.fullmatch(text.strip())
        if match is None:
            raise ValueError(_malformed(text))
        _check_name(match["name"], text)
        if match["type"] not in FIELD_TYPES:
            known = ", ".join(FIELD_TYPES)
            raise ValueError(f"Unknown type {match['type']!r} in field {text!r}; known: {known}")
        return cls(match["name"], cast("FieldType", match["type"]), required=not match["optional"])

    def to_dict(self) -> dict[str, object]:
        """Return name, type and required in the order in which the audit trail stores them."""
        return {"name": self.name, "type": self.field_type, "required": self.required}


@dataclass(frozen=True)
class SchemaConfig:
    """The fields that a node expects in its rows.

    Attributes:
        mode: "strict" allows these fields only, "free" allows more. None for a dynamic schema.
        fields: At least one field; None for a dynamic schema.
        is_dynamic: Whether the fields are left open.
    """

    mode: SchemaMode | None
    fields: tuple[FieldDefinition, ...] | None
    is_dynamic: bool

    @property
    def allows_extra_fields(self) -> bool:
        """Whether a row may have fields that are not listed."""
        return self.is_dynamic or self.mode == "free"

    @classmethod
    def from_dict(cls, config: Mapping[str, object]) -> "SchemaConfig":
        """Read a schema's configuration: `fields`, and `mode` unless fields is "dynamic".

        Raises:
            ValueError: A key is missing or has a wrong value; the message names the key.
        """
        if "fields" not in config:
            raise ValueError("Schema: 'fields' is required: \"dynamic\", or a list of fields")
        fields = config["fields"]
        if fields == "dynamic":
            return cls(mode=None, fields=None, is_dynamic=True)
        if not isinstance(fields, list):
            raise ValueError(f'Schema: fields must be "dynamic" or a list, not {fields!r}')
        return cls(mode=_mode(config), fields=_definitions(fields), is_dynamic=False)

    def to_dict(self) -> dict[str, object]:
        """Return mode and fields; a dynamic schema has mode "dynamic" and fields None."""
        if self.is_dynamic:
            return {"mode": "dynamic", "fields": None}
        return {"mode": self.mode, "fields": [field.to_dict() for field in self.fields or ()]}


def _malformed(field: object) -> str:
    return f"Invalid field {field!r}: expected text such as 'name: type' or 'name: type?'"


def _check_name(name: str, text: str) -> None:
    # A hyphen or a dot is the usual mistake, since CSV headers have them: suggest a correct name.
    underscored = re.sub(r"[-.]", "_", name)
    if not re.fullmatch(r"\w+", underscored):
        raise ValueError(_malformed(text))
    if name[0].isdigit():
        raise ValueError(f"Field name {name!r} in {text!r} cannot start with a digit")
    if name != underscored:
        raise ValueError(f"Field name {name!r} in {text!r}: use {underscored!r} instead")


def _mode(config: Mapping[str, object]) -> SchemaMode:
    mode = config.get("mode")
    if mode is None:
        raise ValueError("Schema: 'mode' is required with a list of fields: strict or free")
    if mode not in SCHEMA_MODES:
        raise ValueError(f"Schema: mode must be strict or free, not {mode!r}")
    return mode


def _definitions(fields: list[object]) -> tuple[FieldDefinition, ...]:
    if not fields:
        raise ValueError("Schema: a strict or free schema needs at least one field")
    definitions = tuple(_definition(field) for field in fields)
    names = [definition.name for definition in definitions]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"Duplicate field names in schema: {', '.join(repeated)}")
    return definitions


def _definition(field: object) -> FieldDefinition:
    # YAML turns an unquoted `- id: int` into a mapping.
    if not isinstance(field, str):
        raise ValueError(f"{_malformed(field)}, in quotes")
    return FieldDefinition.parse(field)
