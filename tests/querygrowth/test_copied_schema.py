"""Rows are copied by the models of the database that is copied."""

import uuid

import pytest
from sqlalchemy import Uuid, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from querygrowth.suite.grow.copied_schema import read_schema


def declared(kind: object, *names: str) -> type[DeclarativeBase]:
    """A declarative base with a table `orders`, whose key has a type."""

    class Base(DeclarativeBase):
        pass

    columns = {name: mapped_column() for name in names}
    annotations = {"id": Mapped[kind], **dict.fromkeys(names, Mapped[str])}
    key = mapped_column(primary_key=True)
    content = {"__tablename__": "orders", "__annotations__": annotations, "id": key, **columns}
    type("Order", (Base,), content)
    return Base


@pytest.mark.parametrize("stored", [0, 1])
def test_of_two_models_of_one_name_that_of_the_database_is_used(stored: int) -> None:
    bases = [declared(int, "note"), declared(uuid.UUID, "state")]
    engine = create_engine("sqlite://")
    bases[stored].metadata.create_all(engine)
    with engine.connect() as connection:
        rules = read_schema(connection, None).rules[None, "orders"]
    assert isinstance(rules.columns["id"].type, Uuid) is bool(stored)
