"""Proofs that a mutant is equivalent: it exports every legal run as its design does.

A mutant counts as equivalent only with a proof. A proof names the constraint of the schema or the
rule of the export that it rests on. `Proof.check` looks for it and tries it on stored runs.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, TypeAlias

from sqlalchemy import BinaryExpression, UniqueConstraint

from elspeth.contracts.errors import MAX_INTEGER, CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LegacyLandscapeExporter, schema
from elspeth.core.landscape.export.record_types import RECORD_TYPES, RecordType
from harness.mutants.designs import DESIGN_OF
from harness.mutants.exporters import faulty_exporter
from harness.mutants.mutant import Mutant
from harness.mutants.query import Query, column_of, sides, value_of
from harness.mutants.witnesses import MISSING_RUN, RUN_IDS, Witness

Export: TypeAlias = Iterator[list[tuple[str, Any]] | str]
"""The records of an export as lists of keys and values, and the text of the error that ends it."""


class ProofError(AssertionError):
    """A mutant is not equivalent for the reason that its proof gives."""


@dataclass(frozen=True)
class Proof:
    """The reason why a mutant is equivalent.

    Attributes:
        mutant: The mutant.
        reason: The constraint or the rule, in words.
        premises: Raises ProofError unless the schema and the statement are as the reason says.
    """

    mutant: Mutant
    reason: str
    premises: Callable[[], None]

    def check(self, db: LandscapeDB) -> None:
        """Check the premises, and compare the mutant's exports with its design's.

        Args:
            db: A database that a `Witness` has written.

        Raises:
            ProofError: A premise does not hold, or an export differs.
        """
        self.premises()
        for run_id in (*RUN_IDS, MISSING_RUN):
            require_same_export(self.mutant, db, run_id)


def proof_of(mutant: Mutant) -> Proof | None:
    """Return the proof that a mutant is equivalent; None if there is none."""
    # Operators of other families name parts that are not tables.
    if mutant.operator not in ("distinct", "outer-join", "drop-condition"):
        return None
    record_type = record_type_of(mutant)
    query = Query.of(DESIGN_OF[mutant.design].statements[record_type])
    match mutant.operator:
        case "distinct":
            reason = f"the selected columns hold a unique key of {record_type.table.name}"
            return Proof(mutant, reason, partial(require_distinct_rows, record_type, query))
        case "outer-join":
            places = [_place(query, position) for position in range(len(query.joins))]
            position = places.index(mutant.part.partition("/")[2])
            if position == 0:
                return None
            reason = "the next join compares a column of the outer side, which rejects NULL"
            return Proof(mutant, reason, partial(_next_join_rejects_null, query, position))
        case "drop-condition" if mutant.part.endswith("/rows.row_index"):
            reason = f"the statement of rows refuses a row_index below {-MAX_INTEGER}"
            return Proof(mutant, reason, partial(_condition_holds_or_run_is_refused, mutant, query))
    return None


def record_type_of(mutant: Mutant) -> RecordType:
    """Return the record type that a mutant of a statement or a field changes."""
    table = mutant.part.partition("/")[0]
    return next(each for each in RECORD_TYPES if each.table.name == table)


def exported(exporter: Any, run_id: str) -> Export:
    """Export a run.

    Args:
        exporter: The exporter.
        run_id: The run.
    """
    try:
        for record in exporter.export_run(run_id):
            # A list, because the order of a record's keys counts. The type's name tells 5 from 5.0.
            yield [(name, (type(value).__name__, value)) for name, value in record.items()]
    except Exception as error:  # The exporters on trial may raise any.
        yield f"{type(error).__name__}: {error}"


def require_same_export(mutant: Mutant, db: LandscapeDB, run_id: str) -> None:
    """Compare the export of a mutant with that of its design.

    Args:
        mutant: The mutant.
        db: The database.
        run_id: The run.

    Raises:
        ProofError: The exports differ.
    """
    designed = list(exported(DESIGN_OF[mutant.design].exporter(db), run_id))
    if shows_difference(mutant, db, run_id, designed):
        raise ProofError(f"{mutant.identifier} exports the run {run_id!r} differently")


def shows_difference(
    mutant: Mutant, db: LandscapeDB, run_id: str, designed: Sequence[object]
) -> bool:
    """Whether a mutant exports a run differently from its design.

    Args:
        mutant: The mutant.
        db: The database.
        run_id: The run.
        designed: The export of the design.
    """
    found = exported(faulty_exporter(mutant.identifier)(db), run_id)
    return any(expected != seen for expected, seen in zip_longest(designed, found))


def require_distinct_rows(record_type: RecordType, query: Query) -> None:
    """Require that a statement returns no row twice.

    Args:
        record_type: The record type of the statement.
        query: The statement.

    Raises:
        ProofError: It may return a row twice.
    """
    table = record_type.table
    selected = {column_of(column).name for column in query.columns}
    keys = [{column.name for column in table.primary_key}] + [
        {column.name for column in constraint.columns}
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    fixed = {column_of(each).name for each in query.conditions if _compares(each, operator.eq)}
    _require(
        any(key and key <= selected | fixed for key in keys),
        f"the statement of {table.name} selects or fixes a unique key",
    )
    for each in query.joins:
        _, parent = sides(each.onclause)
        _require(
            list(parent.table.primary_key) == [parent],
            f"a row of {table.name} joins one row of {parent.table.name} at most",
        )


def _require(holds: bool, premise: str) -> None:
    if not holds:
        raise ProofError(f"it does not hold that {premise}")


def _next_join_rejects_null(query: Query, position: int) -> None:
    outer, following = query.joins[position], query.joins[position - 1]
    _, parent = sides(following.onclause)
    _require(not following.isouter, "the next join is an inner join")
    _require(_compares(following.onclause, operator.eq), "it compares by =")
    _require(parent.table is outer.right, "it compares a column of the outer side")


def _condition_holds_or_run_is_refused(mutant: Mutant, query: Query) -> None:
    (condition,) = (
        each for each in query.conditions if column_of(each) is schema.rows_table.c.row_index
    )
    _require(_compares(condition, operator.ge), "the condition is a least value")
    _require(value_of(condition).value == -MAX_INTEGER, "it is the least integer of an export")
    for refused in (-MAX_INTEGER - 1, "first"):
        with LandscapeDB.in_memory() as db:
            Witness(db, size=4).write(["run"])
            with db.connection() as connection:
                index = schema.rows_table.c.row_index
                first = schema.rows_table.select().order_by(index).limit(1)
                row_id = connection.execute(first).one().row_id
                connection.exec_driver_sql(
                    "UPDATE rows SET row_index = ? WHERE row_id = ?", (refused, row_id)
                )
            control = list(exported(LegacyLandscapeExporter(db), "run"))
            _require(
                str(control[-1]).startswith(CorruptAuditDataError.__name__),
                f"the control refuses the row_index {refused!r}",
            )
            require_same_export(mutant, db, "run")


def _compares(condition: Any, by: Callable[[Any, Any], Any]) -> bool:
    return isinstance(condition, BinaryExpression) and condition.operator is by


def _place(query: Query, position: int) -> str:
    child, parent = sides(query.joins[position].onclause)
    return f"{child.table.name}-{parent.table.name}"
