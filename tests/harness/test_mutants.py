"""Mutants: their identifiers, what they change, the runs that show them wrong, and the proofs."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from zlib import crc32

import pytest
from profiles import is_nightly
from sqlalchemy import event

from elspeth.core.landscape import LandscapeDB, LegacyLandscapeExporter
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.schema import metadata
from harness.checks.database_changes import PLAN_CHANGES, REBUILT
from harness.exporters.subject import SubjectError, load_subject
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.mutants import Mutant, all_mutants, mutants_by_identifier
from harness.mutants.designs import DESIGN_OF, DESIGNS, Design
from harness.mutants.equivalents import (
    ProofError,
    exported,
    proof_of,
    require_distinct_rows,
    shows_difference,
)
from harness.mutants.exporters import faulty_exporter
from harness.mutants.fields import field_mutants
from harness.mutants.query import Query, column_of
from harness.mutants.statements import PAGE_ROWS, statement_mutants
from harness.mutants.witnesses import MISSING_RUN, RUN_IDS, Witness
from querygrowth import count_queries

STATEMENTS = [mutant for design in DESIGNS for mutant in statement_mutants(design)]
FIELDS = [mutant for design in DESIGNS for mutant in field_mutants(design)]
OURS = STATEMENTS + FIELDS
EQUIVALENT = [mutant for mutant in OURS if proof_of(mutant)]

NEED_ROWS = {
    "limit": 1_000,
    "page-loses-row": PAGE_ROWS,
    "page-repeats-row": PAGE_ROWS,
    "chunks-unsorted": PAGE_ROWS,
    "keyset-not-unique": PAGE_ROWS,
}
"""By operator: the rows of a table that a run needs to show a mutant of it."""

ENUMS = {
    f"{record_type.table.name}/{name}": (record_type.table.name, name, enum)
    for record_type in RECORD_TYPES
    for name, enum in record_type.enums.items()
}
REFUSED = {"strip": " {} ", "lower": "{}", "enum-default": "mystery"}
"""By operator: the stored text of an enum that an export has to refuse; `{}` is a member's name."""

REQUIRED = ("node_states/duration_ms", "node_states/completed_at")
"""Columns that must hold a value in a state that has ended, and none in an open one."""

FILLED = [
    mutant
    for mutant in FIELDS
    if mutant.operator in ("zero-for-null", "coalesce-neighbour")
    and mutant.part.startswith(REQUIRED)
]
"""Mutants that export a value in place of a NULL that must be refused."""

NEED_REFUSED_VALUE = FILLED + [
    mutant for mutant in OURS if mutant.operator in REFUSED and mutant.part in ENUMS
]

ONLY_COST = [
    mutant
    for mutant in STATEMENTS
    if mutant.operator in ("drop-condition", "condition-at-least", "condition-at-most")
    and mutant.part.endswith(".run_id")
    and mutant.design == "maps"
]
"""Mutants that fetch the rows of other runs and do not export them."""


def sample(mutants: list[Mutant], *, one_in: int) -> list[Mutant]:
    """One mutant of every operator, and a part of the others: the same ones everywhere."""
    chosen = {mutant.operator: mutant for mutant in mutants if not proof_of(mutant)}
    chosen |= {
        mutant.identifier: mutant
        for mutant in mutants
        if crc32(mutant.identifier.encode()) % one_in == 0 and not proof_of(mutant)
    }
    return list(chosen.values())


SEEDS = (0, 1)


@pytest.fixture(scope="module")
def witnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LandscapeDB]]:
    """Databases of witness runs. The last has plans that give ties in another order."""
    folder = tmp_path_factory.mktemp("witnesses")
    with ExitStack() as stack:
        found = [
            stack.enter_context(LandscapeDB(f"sqlite:///{folder / f'{seed}.db'}")) for seed in SEEDS
        ]
        for seed, db in zip(SEEDS, found, strict=True):
            Witness(db, size=4, seed=seed).write()
        for change in PLAN_CHANGES:
            # It would undo the others.
            if change.apply and change is not REBUILT and change.suits("sqlite"):
                change.apply(found[-1])
        yield found


@pytest.fixture
def witness(witnesses: list[LandscapeDB]) -> LandscapeDB:
    return witnesses[0]


@dataclass(frozen=True)
class Designed:
    """An export of a witness run by a design."""

    design: Design
    db: LandscapeDB
    run_id: str
    export: list[object]


@pytest.fixture(scope="module")
def designed(witnesses: list[LandscapeDB]) -> list[Designed]:
    return [
        Designed(design, db, run_id, list(exported(design.exporter(db), run_id)))
        for design in DESIGNS
        for db in witnesses
        for run_id in (*RUN_IDS[1:], RUN_IDS[0], MISSING_RUN)
    ]


def sent_by(exporter: type, db: LandscapeDB) -> list[str]:
    """The statements of an export, with their arguments."""
    sent: list[str] = []

    def listen(*args: object) -> None:
        sent.append(f"{args[2]} {args[3]}")

    event.listen(db.engine, "before_cursor_execute", listen)
    try:
        list(exported(exporter(db), "run"))
    finally:
        event.remove(db.engine, "before_cursor_execute", listen)
    return sent


def test_every_identifier_is_unique_and_names_its_exporter() -> None:
    assert len(mutants_by_identifier()) == len(all_mutants())
    mutant = OURS[0]
    subject = load_subject(mutant.reference)
    assert subject.name == mutant.identifier
    assert subject.takes_clock
    assert issubclass(faulty_exporter(mutant.identifier), DESIGN_OF[mutant.design].exporter)


def test_another_process_lists_the_same_mutants() -> None:
    program = (
        "from harness.mutants import all_mutants\n"
        "for mutant in all_mutants():\n    print(mutant.identifier)"
    )
    # Another seed of the hashes of texts: no order may come from a set.
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "7", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [mutant.identifier for mutant in all_mutants()]


def test_an_unknown_mutant_is_refused_by_name() -> None:
    with pytest.raises(SubjectError, match="batched/no-such-operator"):
        load_subject("harness.mutants.exporters:batched/no-such-operator/rows")


def test_every_part_of_every_statement_has_mutants() -> None:
    parts = Counter((mutant.operator, mutant.part) for mutant in STATEMENTS)
    for record_type, statement in DESIGNS[0].statements.items():
        query, table = Query.of(statement), record_type.table
        named = {part for operator, part in parts if part.split("/")[0] == table.name}
        for expression in (*query.keys, *query.conditions):
            column = column_of(expression)
            name = column.name if column.table is table else str(column)
            assert f"{table.name}/{name}" in named
        joins = [part for operator, part in parts if operator == "outer-join"]
        assert len([part for part in joins if part.startswith(f"{table.name}/")]) == len(
            query.joins
        )


def test_every_field_has_mutants() -> None:
    parts = Counter(tuple(mutant.part.split("/")[:2]) for mutant in FIELDS)
    for record_type in RECORD_TYPES:
        for column in record_type.columns:
            assert parts[record_type.table.name, column.name] >= 3


def test_designs_take_turns_with_changes_that_are_alike() -> None:
    changes = Counter((mutant.operator, mutant.part) for mutant in FIELDS)
    assert set(changes.values()) == {1}
    for design in DESIGNS:
        ours = [mutant for mutant in FIELDS if mutant.design == design.name]
        assert 0.4 < len(ours) / len(FIELDS) < 0.6
    # An operator that depends on the design is tried on both.
    of_conditions = {mutant.design for mutant in STATEMENTS if mutant.operator == "drop-condition"}
    assert of_conditions == set(DESIGN_OF)


def plain(export: list[object]) -> str:
    """An export as text, with the enums of the control as their values."""
    return str(
        [
            [(name, getattr(value, "value", value)) for name, (_, value) in record]
            if isinstance(record, list)
            else record
            for record in export
        ]
    )


def test_the_designs_export_the_witness_runs_as_the_control_does(designed: list[Designed]) -> None:
    for each in designed:
        control = exported(LegacyLandscapeExporter(each.db), each.run_id)
        # The control's export under the usual plan: every order of the designs is total.
        assert plain(each.export) == plain(list(control)), (each.design.name, each.run_id)
        assert len(each.export) > 100 or each.run_id == MISSING_RUN


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_a_mutant_of_a_statement_sends_other_sql(design: Design, witness: LandscapeDB) -> None:
    unchanged = sent_by(design.exporter, witness)
    assert len(unchanged) == len(RECORD_TYPES)
    ours = [mutant for mutant in STATEMENTS if mutant.design == design.name]
    for mutant in sample(ours, one_in=10):
        sent = sent_by(faulty_exporter(mutant.identifier), witness)
        # A difference at the first statement may end the export.
        changed = [text for text in sent if text not in unchanged]
        assert len(changed) == 1, mutant.identifier


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_a_witness_run_shows_what_a_mutant_does_wrong(
    design: Design, designed: list[Designed]
) -> None:
    ours = [
        mutant
        for mutant in OURS
        if mutant.design == design.name
        and mutant.operator not in NEED_ROWS
        and mutant not in NEED_REFUSED_VALUE
        and mutant not in ONLY_COST
    ]
    unseen = [
        mutant.identifier
        for mutant in sample(ours, one_in=20)
        if not any(
            shows_difference(mutant, each.db, each.run_id, each.export)
            for each in designed
            if each.design is design
        )
    ]
    assert not unseen, " ".join(unseen)


def test_fetched_rows_show_a_statement_that_reads_other_runs(witness: LandscapeDB) -> None:
    def fetched(exporter: type) -> int:
        with count_queries(witness.engine) as log:
            list(exported(exporter(witness), "run"))
        return log.rows_fetched

    usual = fetched(DESIGN_OF["maps"].exporter)
    assert ONLY_COST
    for mutant in ONLY_COST:
        assert fetched(faulty_exporter(mutant.identifier)) > usual, mutant.identifier


@pytest.mark.parametrize("operator", sorted(REFUSED))
def test_a_value_that_must_be_refused_shows_a_lenient_enum(operator: str) -> None:
    for part, (table, column, enum) in ENUMS.items():
        with LandscapeDB.in_memory() as db:
            Witness(db, size=3).write(["run"])
            member = next(iter(enum))
            stored = REFUSED[operator].format(member.value if operator == "strip" else member.name)
            with db.connection() as connection:
                connection.execute(metadata.tables[table].update().values({column: stored}))
            (mutant,) = (each for each in FIELDS if (each.operator, each.part) == (operator, part))
            refused = list(exported(DESIGN_OF[mutant.design].exporter(db), "run"))
            assert str(refused[-1]).startswith("CorruptAuditDataError")
            assert shows_difference(mutant, db, "run", refused), mutant.identifier


@pytest.mark.parametrize("required", REQUIRED)
def test_a_null_that_must_be_refused_shows_a_filled_value(required: str) -> None:
    table = metadata.tables["node_states"]
    with LandscapeDB.in_memory() as db:
        Witness(db, size=3).write(["run"])
        with db.connection() as connection:
            ended = table.update().where(table.c.status == "failed")
            connection.execute(ended.values({required.partition("/")[2]: None}))
        for design in DESIGNS:
            refused = list(exported(design.exporter(db), "run"))
            assert str(refused[-1]).startswith("CorruptAuditDataError")
            for mutant in FILLED:
                if mutant.design == design.name and mutant.part.startswith(required):
                    assert shows_difference(mutant, db, "run", refused), mutant.identifier


@pytest.mark.parametrize("operator", sorted(NEED_ROWS))
def test_a_large_table_shows_a_limit_and_a_page(operator: str) -> None:
    spec = RunSpec(
        rows=3,
        nodes=NEED_ROWS[operator] + 10,
        features=frozenset({"shared_timestamps", "null_sequences", "shuffled_ids"}),
    )
    part = f"nodes/{NEED_ROWS[operator]}"
    with LandscapeDB.in_memory() as db:
        generate_run(db, spec)
        mutants = [
            each
            for each in OURS
            if each.operator == operator and each.part in (part, "nodes/sequence_in_pipeline")
        ]
        assert mutants
        for mutant in mutants:
            unchanged = list(exported(DESIGN_OF[mutant.design].exporter(db), "run"))
            assert shows_difference(mutant, db, "run", unchanged), mutant.identifier


def test_a_mutant_leaves_other_exporters_of_the_database_alone(witness: LandscapeDB) -> None:
    for design in DESIGNS:
        before = list(exported(design.exporter(witness), "run"))
        list(exported(faulty_exporter(f"{design.name}/offset-one/nodes")(witness), "run"))
        assert list(exported(design.exporter(witness), "run")) == before


def test_few_mutants_are_equivalent() -> None:
    assert 0 < len(EQUIVALENT) < 0.1 * len(OURS)


@pytest.mark.parametrize("operator", sorted({mutant.operator for mutant in EQUIVALENT}))
def test_the_proofs_of_equivalence_hold(operator: str, witness: LandscapeDB) -> None:
    ours = [each for each in EQUIVALENT if each.operator == operator]
    # Each part on one design. The nightly run tries both.
    for mutant in ours if is_nightly() else {each.part: each for each in ours}.values():
        proof = proof_of(mutant)
        if proof is not None:
            proof.check(witness)


def test_a_false_proof_is_refused(witness: LandscapeDB) -> None:
    proof = proof_of(mutants_by_identifier()["batched/distinct/nodes"])
    assert proof is not None
    wrong = replace(proof, mutant=mutants_by_identifier()["batched/offset-one/nodes"])
    with pytest.raises(ProofError, match="batched/offset-one/nodes exports the run"):
        wrong.check(witness)


def test_a_select_list_without_a_unique_key_refutes_the_proof() -> None:
    parent = next(each for each in RECORD_TYPES if each.name == "token_parent")
    query = Query.of(DESIGNS[0].statements[parent])
    require_distinct_rows(parent, query)
    with pytest.raises(ProofError, match="token_parents selects or fixes a unique key"):
        require_distinct_rows(parent, replace(query, columns=query.columns[:1]))
