"""Tests of the operators of rows, calls, signatures, files, costs and faults from outside.

Every mutant is shown to differ from its design in one of the uses below.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from elspeth.core.landscape import LandscapeDB
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.mutants import Mutant
from harness.mutants.call_forms import call_form_mutants
from harness.mutants.calls import call_mutants
from harness.mutants.costs import cost_mutants
from harness.mutants.designs import DESIGN_OF
from harness.mutants.files import file_mutants
from harness.mutants.manifests import manifest_mutants
from harness.mutants.mutant import ExporterClass
from harness.mutants.outside import outside_mutants
from harness.mutants.records import _changes, record_mutants
from harness.mutants.signatures import signature_mutants

BATCHED = DESIGN_OF["batched"]
KEY = b"a key of more than thirty-two bytes"
KEYS = (
    KEY,
    b" \tblanks at both ends of a key, and capitals A to Z\n",
    b"0123456789abcdef" * 4,
    b"0123456789abcdef" * 4 + b"5",
    b"0123456789abcdef" * 9,
    b"0123456789abcdef" * 70,
    b"a NUL in the middle\0of a longer key of bytes",
    b"a backslash and an n: \\n, in a long key of bytes",
    b"bytes that are not UTF-8: \xff\xfe, in a long key of bytes",
)
# Blanks, case, quotes, a NUL, and a letter that NFC and NFKD write in other ways.
RUN_IDS = ("first", " Second 'O\u0308' \ufb01 ", "cut\0here")
FEATURES = frozenset(("shuffled_ids", "edge_floats", "hostile_text"))
SMALL = "without parents of tokens"


def a_clock(microsecond: int = 0) -> Callable[[], datetime]:
    """Return a clock that moves on by a second with every call."""
    seconds = count(1)
    return lambda: datetime(2026, 1, 1, 12, 30, next(seconds), microsecond, tzinfo=UTC)


@dataclass(frozen=True)
class Databases:
    """The databases that all mutants export from: three small runs, and one of the same id."""

    runs: LandscapeDB
    other: LandscapeDB


@pytest.fixture(scope="module")
def databases(url: str) -> Iterator[Databases]:
    with LandscapeDB(url) as runs, LandscapeDB("sqlite://") as other:
        generate_run(other, RunSpec(run_id="first"))
        yield Databases(runs, other)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a database with three small runs that hold every record type."""
    url = f"sqlite:///{tmp_path_factory.mktemp('runs') / 'audit.db'}"
    spec = RunSpec(
        rows=3,
        forks=1,
        joins=1,
        parents=2,
        states=2,
        routing_groups=1,
        routing_events=2,
        calls=2,
        batches=2,
        members=2,
        artifacts=2,
    )
    with LandscapeDB(url) as db:
        for run_id in RUN_IDS:
            generate_run(db, replace(spec, run_id=run_id, features=FEATURES))
        generate_run(db, RunSpec(run_id=SMALL))
    return url


def ended(action: Callable[[], Any]) -> Any:
    """Return what an action returns, or the text of its error."""
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def as_yielded(records: Iterator[dict[str, Any]]) -> list[str]:
    """Return the text of every record when it is yielded."""
    return [repr(record) for record in records]


def interleaved(exporter: Any) -> list[str]:
    """Return the records of two exports that are read in turn."""
    first, second = (exporter.export_run(run_id, True) for run_id in ("first", RUN_IDS[1]))
    found = [repr(next(first)), repr(next(second))]
    for pair in zip(first, second, strict=True):
        found += map(repr, pair)
    return found


def uses_of_calls(exporter: ExporterClass, databases: Databases) -> Iterator[Any]:
    """Yield what an exporter gives when it is called in many ways."""

    def new(key: bytes | None = KEY, database: Any = databases.runs) -> Any:
        return exporter(database, key, clock=a_clock())

    for run_id in RUN_IDS:
        yield ended(lambda run_id=run_id: as_yielded(new().export_run(run_id)))
    yield ended(lambda: list(map(repr, list(new().export_run("first", True)))))
    again = new()
    for run_id, sign in (
        ("first", False),
        ("first", True),
        ("first", False),
        (RUN_IDS[1], True),
    ):
        yield ended(lambda s=sign, r=run_id: as_yielded(again.export_run(r, sign=s)))
    yield ended(lambda: as_yielded(again.export_run("first", True)))
    abandoned = new()
    yield ended(lambda: as_yielded(islice(abandoned.export_run("first"), 3)))
    yield ended(lambda: as_yielded(abandoned.export_run("first")))
    yield ended(lambda: interleaved(new()))
    failed = new()
    for run_id in ("unknown", "first", "unknown", "first"):
        yield ended(lambda r=run_id: as_yielded(failed.export_run(r)))
    yield ended(lambda: as_yielded(new(None).export_run("first", True)))
    yield ended(lambda: next(iter(new(None).export_run("first", True))))
    grouped = new()
    for sign in (False, True, False):
        yield ended(lambda s=sign: repr(grouped.export_run_grouped("first", sign=s)))
    yield ended(lambda: as_yielded(new(KEYS[1]).export_run("first", True)))
    yield ended(lambda: as_yielded(new(KEY, databases.other).export_run("first", True)))


def uses_of_signatures(exporter: ExporterClass, databases: Databases) -> Iterator[Any]:
    """Yield signed exports under many keys and clocks, and an unsigned one."""
    db = databases.runs
    for key in KEYS:
        records = exporter(db, key, clock=a_clock()).export_run("first", True)
        yield ended(lambda records=records: as_yielded(records))
    for microsecond in (0, 1, 120_000, 999_999):
        again = exporter(db, KEY, clock=a_clock(microsecond))
        for _ in range(2):
            yield ended(lambda again=again: as_yielded(again.export_run("first", True))[-1])
    yield ended(lambda: as_yielded(exporter(db, KEY).export_run("first")))


def uses_of_files(exporter: ExporterClass, databases: Databases, folder: Path) -> Iterator[Any]:
    """Yield the files after exports beside old files, and after one that ends in an error."""
    for method, name in (("write_jsonl", "export.jsonl"), ("write_csv", "export")):
        for run_id, old, sign in (
            ("first", False, True),
            (SMALL, True, False),
            ("no", True, True),
        ):
            shutil.rmtree(folder, ignore_errors=True)
            target = folder / name
            folder.mkdir()
            if old and method == "write_csv":
                target.mkdir(mode=0o700)
                (target / "node.csv").write_text("old\n", encoding="utf-8")
                (target / "token_parent.csv").write_text("old\n", encoding="utf-8")
            elif old:
                target.write_text("old\n", encoding="utf-8")
                target.chmod(0o600)
            write = getattr(exporter(databases.runs, KEY, clock=a_clock()), method)
            error = ended(lambda w=write, r=run_id, t=target, s=sign: w(r, t, s) and "")
            # The path in the message is the same in all uses.
            yield error
            yield sorted(
                (path.name, path.stat().st_mode, path.is_file() and path.read_bytes())
                for path in folder.rglob("*")
            )


@pytest.fixture(scope="module")
def expected(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[Any]]]:
    """What the correct exporter gives in every use, before the mutants and after them."""

    def found(exporter: ExporterClass) -> dict[str, list[Any]]:
        records = exporter(databases.runs, KEY, clock=a_clock()).export_run("first", True)
        folder = tmp_path_factory.mktemp("files") / "out"
        return {
            "records": as_yielded(records),
            "calls": list(uses_of_calls(exporter, databases)),
            "signatures": list(uses_of_signatures(exporter, databases)),
            "files": list(uses_of_files(exporter, databases, folder)),
        }

    before = found(BATCHED.exporter)
    yield before
    # A mutant that had changed the databases would have differed by that.
    assert found(BATCHED.exporter) == before


def name_of(mutant: Mutant) -> str:
    return mutant.identifier


CALLS = [
    each
    for each in (*call_mutants(BATCHED), *call_form_mutants(BATCHED))
    # Workers need processes; the checks of calls show these.
    if each.operator != "break-jobs"
]
# The checks run with another time zone, other values and larger runs.
NEEDS_MORE = (
    "change-clock/local",
    "change-running-hash/first-",
    "change-manifest/count-at-most",
    "change-jsonl/cut-1-mb",
    "change-csv/strip",
    "change-csv/line-breaks",
    "change-csv/formula",
    "change-csv/mode-644",
)


@pytest.mark.parametrize("mutant", CALLS, ids=name_of)
def test_a_mutant_of_calls_differs_in_one_of_the_uses(
    mutant: Mutant, databases: Databases, expected: dict[str, list[Any]]
) -> None:
    exporter = mutant.apply(BATCHED.exporter)
    pairs = zip(uses_of_calls(exporter, databases), expected["calls"], strict=True)
    assert any(found != correct for found, correct in pairs)


@pytest.mark.parametrize(
    "mutant",
    [
        each
        for each in (*signature_mutants(BATCHED), *manifest_mutants(BATCHED))
        if not any(n in each.identifier for n in NEEDS_MORE)
    ],
    ids=name_of,
)
def test_a_mutant_of_signatures_differs_under_one_of_the_keys_and_clocks(
    mutant: Mutant, databases: Databases, expected: dict[str, list[Any]]
) -> None:
    exporter = mutant.apply(BATCHED.exporter)
    pairs = zip(uses_of_signatures(exporter, databases), expected["signatures"], strict=True)
    assert any(found != correct for found, correct in pairs)


@pytest.mark.parametrize(
    "mutant",
    [each for each in file_mutants(BATCHED) if not any(n in each.identifier for n in NEEDS_MORE)],
    ids=name_of,
)
def test_a_mutant_of_files_differs_beside_old_files_or_after_an_error(
    mutant: Mutant, databases: Databases, expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    exporter = mutant.apply(BATCHED.exporter)
    uses = uses_of_files(exporter, databases, tmp_path / "out")
    pairs = zip(uses, expected["files"], strict=True)
    assert any(found != correct for found, correct in pairs)


def test_every_change_of_rows_changes_a_large_table_and_nothing_before_its_place() -> None:
    rows = [(number,) for number in range(1, 25_001)]
    changes = chain.from_iterable(_changes(number) for number in range(4))
    for operator, place, _, change in changes:
        changed = list(change(iter(rows)))
        assert changed != rows, (operator, place)
        if place.isdigit():
            assert changed[: int(place) - 1] == rows[: int(place) - 1], (operator, place)


def test_a_lost_row_is_lost_in_records_and_in_files(url: str, tmp_path: Path) -> None:
    for mutant in record_mutants(DESIGN_OF["maps"]):
        if mutant.identifier.endswith("/first") and mutant.operator == "drop-row":
            exporter = mutant.apply(DESIGN_OF["maps"].exporter)
            with LandscapeDB(url) as db:
                kept = list(exporter(db).export_run("first"))
                everything = list(BATCHED.exporter(db).export_run("first"))
                exporter(db).write_jsonl("first", tmp_path / "export.jsonl")
            assert len(kept) < len(everything), mutant.identifier
            lines = (tmp_path / "export.jsonl").read_bytes().splitlines()
            assert len(lines) == len(kept), mutant.identifier


@pytest.mark.parametrize("mutant", list(cost_mutants(BATCHED)), ids=name_of)
def test_a_mutant_of_costs_exports_the_right_records(
    mutant: Mutant, databases: Databases, expected: dict[str, list[Any]]
) -> None:
    exporter = mutant.apply(BATCHED.exporter)(databases.runs, KEY, clock=a_clock())
    assert as_yielded(exporter.export_run("first", True)) == expected["records"]


@pytest.mark.parametrize(
    "mutant",
    [
        each
        for each in cost_mutants(BATCHED)
        if each.identifier.endswith("/after-0")
        or each.operator in ("fetch-whole-table", "work-cross-join", "query-per-other-run")
    ],
    ids=name_of,
)
def test_a_mutant_of_costs_sends_more_queries(mutant: Mutant, url: str) -> None:
    sent = []
    for exporter in (BATCHED.exporter, mutant.apply(BATCHED.exporter)):
        with LandscapeDB(url) as db:
            queries: list[str] = []
            event.listen(db.engine, "before_cursor_execute", lambda *a, q=queries: q.append(a[2]))
            list(exporter(db).export_run("first"))
            sent.append(len(queries))
    assert sent[1] > sent[0]


class _Failure:
    """Makes the query of one table fail once."""

    def __init__(self, table: str) -> None:
        self.table, self.is_due = table, True

    def __call__(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if self.is_due and f"SELECT {self.table}." in statement:
            self.is_due = False
            raise sqlite3.OperationalError("disk I/O error")


def exported(exporter: ExporterClass, url: str, table: str) -> Any:
    """Return the signed export of an exporter whose query of a table fails once."""
    with LandscapeDB(url) as db:
        event.listen(db.engine, "before_cursor_execute", _Failure(table))
        records = exporter(db, KEY, clock=a_clock()).export_run("first", True)
        return ended(lambda: as_yielded(records))


BELOW = {
    "rows": ("tokens", "token_parents", "node_states", "routing_events", "calls", "batch_members"),
    "tokens": ("token_parents", "node_states", "routing_events", "calls", "batch_members"),
    "node_states": ("routing_events", "calls"),
    "batches": ("batch_members",),
}
"""The tables of which an entity of a table is an ancestor."""


@pytest.mark.parametrize(
    "mutant",
    [
        each
        for each in outside_mutants(BATCHED)
        if "error" in each.operator and "keep" not in each.operator and "fetch" not in each.operator
    ],
    ids=name_of,
)
def test_a_mutant_of_errors_hides_the_error_of_a_query(
    mutant: Mutant, url: str, tmp_path: Path
) -> None:
    table = mutant.part if mutant.part != "export" else "edges"
    copy = shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "audit.db")
    # The batched exporter refuses children without parents, so that an empty table of parents
    # shows only where there are no children.
    if mutant.operator == "swallow-query-error":
        with closing(sqlite3.connect(copy)) as connection, connection:
            for child in BELOW.get(table, ()):
                connection.execute(f"DELETE FROM {child}")
    assert isinstance(exported(BATCHED.exporter, f"sqlite:///{copy}", table), str)
    assert isinstance(exported(mutant.apply(BATCHED.exporter), f"sqlite:///{copy}", table), list)


@pytest.mark.parametrize("operator", ["keep-connection", "keep-transaction"])
def test_a_kept_connection_is_missing_in_the_pool(operator: str, url: str) -> None:
    (mutant,) = (each for each in outside_mutants(BATCHED) if each.operator == operator)
    with LandscapeDB(url) as db:
        pool: Any = db.engine.pool
        list(BATCHED.exporter(db).export_run("first"))
        assert pool.checkedout() == 0
        list(mutant.apply(BATCHED.exporter)(db).export_run("first"))
        assert pool.checkedout() == 1


def test_writes_change_the_database(url: str, tmp_path: Path) -> None:
    source = Path(url.removeprefix("sqlite:///"))
    for number, mutant in enumerate(outside_mutants(BATCHED)):
        # A run without batch outputs has nothing to delete.
        if mutant.operator == "write-to-database" and "batch_outputs" not in mutant.part:
            path = tmp_path / f"{number}.db"
            shutil.copy(source, path)
            with closing(sqlite3.connect(path)) as watch:
                before = watch.execute("PRAGMA data_version").fetchone()
                with LandscapeDB(f"sqlite:///{path}") as db:
                    list(mutant.apply(BATCHED.exporter)(db).export_run("first"))
                assert watch.execute("PRAGMA data_version").fetchone() != before, mutant.part
