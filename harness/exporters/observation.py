"""What one export did: queries, transactions, rows fetched, work, records, bytes. Never time."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.exporters.subject import Subject, write_jsonl
from querygrowth.call_sites import CallSite, Project, telling_lines, trace_origins
from querygrowth.log import Query, QueryLog, count_queries
from querygrowth.statements import Shape
from querygrowth.work import count_vm_steps, has_vm_steps

# Peak memory of one export, in bytes: what a fresh process that does nothing else came to.


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of a process: before the export, and at its highest during it."""

    start_bytes: int
    peak_bytes: int

    @property
    def above_start_bytes(self) -> int:
        """How much the export added at its highest."""
        return self.peak_bytes - self.start_bytes


@dataclass(frozen=True)
class ShapeCount:
    """How often one shape was sent, and the line that sent it first."""

    table: str
    text: str
    count: int
    site: CallSite | None


@dataclass(frozen=True)
class Observation:
    """What one export to a JSON Lines file did. Immutable.

    `rows_fetched` and `vm_steps` (SQLite's virtual-machine steps) are None where they cannot be
    counted: in another process, on another database.
    """

    subject: str
    queries: int
    queries_by_table: Mapping[str, int]
    session_statements: int
    transactions: int
    rows_fetched: int | None
    vm_steps: int | None
    shapes: tuple[ShapeCount, ...]
    records: int
    size_bytes: int
    sha256: str

    @property
    def is_vacuous(self) -> bool:
        """Whether there is nothing to judge: it asked the database nothing, or wrote nothing."""
        return not self.queries or not self.records


@dataclass(frozen=True)
class ExportTask:
    """The export that every subject is asked for: which run, from where, signed how, to where."""

    db: LandscapeDB
    run_id: str
    signing_key: bytes
    clock: Clock
    directory: Path

    def path_for(self, subject: str) -> Path:
        """Where the file of the subject of that name goes."""
        return self.directory / f"{subject}.jsonl"

    def perform(self, subject: Subject) -> Path:
        """Have the subject write its signed file; returns where it is."""
        path = self.path_for(subject.name)
        exporter = subject.build(self.db, self.signing_key, self.clock)
        write_jsonl(exporter, self.run_id, path, sign=True)
        return path


@dataclass(frozen=True)
class WrittenFile:
    """What a finished export's file is."""

    records: int
    size_bytes: int
    sha256: str

    @classmethod
    def at(cls, path: Path) -> "WrittenFile":
        """Read it once: one record a line."""
        digest, records = hashlib.sha256(), 0
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                records += 1
        return cls(records, path.stat().st_size, digest.hexdigest())


def project_of_subject(root: Path | None = None) -> Project:
    """The code below `root` (default: the working directory), without the harness's own frames.

    An installed harness holds the exporters of `harness.fixtures`: those are subjects.
    """
    own = [path for path in Path(__file__).parents[1].iterdir() if path.name != "fixtures"]
    return Project(root, passed_over=own)


def observe_export(subject: Subject, task: ExportTask) -> Observation:
    """Perform the export once with the counting listeners attached."""
    engine = task.db.engine
    with ExitStack() as stack:
        steps = stack.enter_context(count_vm_steps(engine)) if has_vm_steps(engine) else None
        log = stack.enter_context(count_queries(engine, call_sites=False))
        stacks = stack.enter_context(trace_origins(engine, project_of_subject()))
        path = task.perform(subject)
    written = WrittenFile.at(path)
    return Observation(
        subject=subject.name,
        queries=log.total,
        queries_by_table=dict(log.by_table),
        session_statements=log.session_statements,
        transactions=log.transactions_begun,
        rows_fetched=log.rows_fetched,
        vm_steps=steps.count if steps else None,
        shapes=_count_shapes(log, telling_lines(stacks)),
        records=written.records,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
    )


def _count_shapes(log: QueryLog, origins: Mapping[str, CallSite]) -> tuple[ShapeCount, ...]:
    groups: defaultdict[Shape, list[Query]] = defaultdict(list)
    for query in log.queries:
        groups[query.shape].append(query)
    return tuple(
        ShapeCount(shape.table, shape.text, len(queries), origins.get(queries[0].sql))
        for shape, queries in groups.items()
    )
