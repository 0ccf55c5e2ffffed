"""Tests of SchemaConfig and FieldDefinition: accepted and refused configurations."""

import dataclasses

import pytest

from elspeth.contracts import FieldDefinition, RoutingMode, RoutingSpec, SchemaConfig


@pytest.mark.parametrize("config", [{"fields": "dynamic"}, {"fields": "dynamic", "mode": "strict"}])
def test_a_dynamic_schema_has_neither_mode_nor_fields(config: dict[str, object]) -> None:
    schema = SchemaConfig.from_dict(config)

    assert schema == SchemaConfig(mode=None, fields=None, is_dynamic=True)
    assert schema.to_dict() == {"mode": "dynamic", "fields": None}


def test_a_schema_with_fields_keeps_them_in_order() -> None:
    schema = SchemaConfig.from_dict({"mode": "strict", "fields": ["id: int", "note: str?"]})

    assert schema.mode == "strict"
    assert schema.is_dynamic is False
    assert schema.fields == (
        FieldDefinition("id", "int"),
        FieldDefinition("note", "str", required=False),
    )


def test_a_schema_is_stored_as_mode_and_field_dicts_with_ordered_keys() -> None:
    schema = SchemaConfig.from_dict({"mode": "free", "fields": ["id: int", "note: any?"]})

    stored = schema.to_dict()

    assert [list(field.items()) for field in stored.pop("fields")] == [
        [("name", "id"), ("type", "int"), ("required", True)],
        [("name", "note"), ("type", "any"), ("required", False)],
    ]
    assert stored == {"mode": "free"}


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ({"fields": "dynamic"}, True),
        ({"mode": "free", "fields": ["id: int"]}, True),
        ({"mode": "strict", "fields": ["id: int"]}, False),
    ],
)
def test_all_but_a_strict_schema_allow_extra_fields(
    config: dict[str, object], allowed: bool
) -> None:
    assert SchemaConfig.from_dict(config).allows_extra_fields is allowed


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "fields.*required"),
        ({"mode": "strict"}, "fields.*required"),
        ({"fields": ["id: int"]}, "mode.*required"),
        ({"fields": ["id: int"], "mode": None}, "mode.*required"),
        ({"fields": ["id: int"], "mode": "lax"}, "strict or free, not 'lax'"),
        ({"fields": "id: int", "mode": "strict"}, '"dynamic" or a list'),
        ({"fields": None, "mode": "strict"}, '"dynamic" or a list'),
        ({"fields": [], "mode": "strict"}, "at least one field"),
        ({"fields": ["b: int", "a: int", "b: str"], "mode": "free"}, "Duplicate field names.*: b$"),
        ({"fields": [{"id": "int"}], "mode": "free"}, "Invalid field.*in quotes"),
    ],
)
def test_a_schema_that_cannot_be_meant_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SchemaConfig.from_dict(config)


@pytest.mark.parametrize("field_type", ["str", "int", "float", "bool", "any"])
def test_a_field_of_each_type_is_read_with_or_without_blanks(field_type: str) -> None:
    expected = FieldDefinition("user_id2", field_type)

    assert FieldDefinition.parse(f"user_id2:{field_type}") == expected
    assert FieldDefinition.parse(f"  user_id2:  {field_type}\n") == expected
    assert FieldDefinition.parse(f"user_id2: {field_type}?") == dataclasses.replace(
        expected, required=False
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: integer", "Unknown type 'integer'"),
        ("id: INT", "Unknown type 'INT'"),
        ("id: int ?", "Unknown type 'int '"),
        ("user-id: int", "'user_id' instead"),
        ("user.id: int", "'user_id' instead"),
        ("1id: int", "cannot start with a digit"),
        ("1-id: int", "cannot start with a digit"),
        ("id", "Invalid field 'id'"),
        ("", "Invalid field ''"),
        ("id:", "Invalid field"),
        (": int", "Invalid field"),
        ("id : int", "Invalid field"),
        ("user id: int", "Invalid field"),
        ("id: int??", "Invalid field"),
        ("id$: int", "Invalid field"),
    ],
)
def test_a_malformed_field_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FieldDefinition.parse(text)


def test_a_routing_spec_cannot_be_changed() -> None:
    spec = RoutingSpec("e1", RoutingMode.COPY)

    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.edge_id = "e2"
