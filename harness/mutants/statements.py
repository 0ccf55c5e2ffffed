"""Operators that change a statement: its order, conditions, joins and the rows that it returns."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select

from elspeth.core.landscape.export.record_types import RecordType
from harness.mutants.designs import Design
from harness.mutants.mutant import Mutant, rewrites_statement


def statement_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all statements of a design."""
    for record_type, statement in design.statements.items():
        yield from _order_mutants(design, record_type, statement)


def _order_mutants(
    design: Design, record_type: RecordType, statement: Select[Any]
) -> Iterator[Mutant]:
    for position, key in enumerate(statement._order_by_clauses):
        yield Mutant(
            "drop-order-key",
            design.name,
            f"{record_type.table.name}/{key}",
            f"the statement of {record_type.table.name} does not sort by {key}",
            rewrites_statement(record_type, partial(_drop_key, position=position)),
        )


def _drop_key(statement: Select[Any], position: int) -> Select[Any]:
    keys: list[ColumnElement[Any]] = list(statement._order_by_clauses)
    del keys[position]
    return statement.order_by(None).order_by(*keys)
