"""Mutant: one change to a correct exporter, and the changes that mutation operators make with it.

An operator is a generator function. It takes a `Design` and yields one `Mutant` for each part of
the exporter that it can change.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy import Connection, Engine, Select, event

from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.export.exporter import Database
from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record, RecordType
from elspeth.core.landscape.export.signed_lines import Block
from elspeth.core.landscape.exporter import LandscapeExporter

ExporterClass: TypeAlias = type[LandscapeExporter]
Rewrite: TypeAlias = Callable[[Select[Any]], Select[Any]]
"""Returns the statement to send in place of the one that the exporter sends."""
RecordChange: TypeAlias = Callable[[Record], Record]
"""Returns the record to export in place of the one that the exporter makes."""

REFERENCE_PREFIX = "harness.mutants.exporters:"
"""The start of a mutant's `module:attribute`; its identifier follows."""


@dataclass(frozen=True)
class Mutant:
    """One change to a correct exporter.

    Attributes:
        operator: The name of the operator, such as `drop-order-key`.
        design: The name of the design that is changed.
        part: What is changed, such as `node_states/attempt`: a table, then the place in it.
        description: The change, in one sentence.
        apply: Makes the faulty class from the class of the design.
    """

    operator: str
    design: str
    part: str
    description: str
    apply: Callable[[ExporterClass], ExporterClass]

    @property
    def identifier(self) -> str:
        """Design, operator and part, joined by slashes: unique, and the same in every process."""
        return f"{self.design}/{self.operator}/{self.part}"

    @property
    def reference(self) -> str:
        """The `module:attribute` that loads the faulty exporter in any process."""
        return REFERENCE_PREFIX + self.identifier


# The change is made to the statement that SQLAlchemy is about to execute. The records, their
# signatures and the hash of the manifest then follow from the changed result, as they do in an
# exporter with a wrong query.
def rewrites_statement(
    record_type: RecordType, rewrite: Rewrite
) -> Callable[[ExporterClass], ExporterClass]:
    """Return a change that rewrites the statement of one record type before it is sent.

    Args:
        record_type: The record type whose statement is rewritten. Other statements stay.
        rewrite: The change.
    """

    def apply(exporter: ExporterClass) -> ExporterClass:
        class Rewritten(exporter):  # type: ignore[valid-type, misc]
            def __init__(
                self, db: Database, signing_key: bytes | None = None, *, clock: Clock = utc_now
            ) -> None:
                super().__init__(
                    RewritingDatabase(db, record_type, rewrite), signing_key, clock=clock
                )

        return cast("ExporterClass", Rewritten)

    return apply


def changes_records(
    record_type: RecordType, change: RecordChange
) -> Callable[[ExporterClass], ExporterClass]:
    """Return a change to the unsigned records of one type, before they are signed.

    Args:
        record_type: The type of the records that are changed. Other records stay.
        change: The change.
    """

    def apply(exporter: ExporterClass) -> ExporterClass:
        class Changed(exporter):  # type: ignore[valid-type, misc]
            def _iter_records(self, run_id: str) -> Iterator[Record]:
                for record in super()._iter_records(run_id):
                    is_changed = record["record_type"] == record_type.name
                    yield change(record) if is_changed else record

            def export_blocks(
                self, run_id: str, sign: bool = False, **options: Any
            ) -> Iterator[Block]:
                # The files of an exporter with an overridden method come from its records, in one
                # process. The batched exporter accepts several jobs, so this class does too: the
                # change must not show as a refusal of jobs.
                if exporter is LandscapeExporter:
                    options = {}
                blocks: Iterator[Block] = super().export_blocks(run_id, sign, **options)
                return blocks

        return cast("ExporterClass", Changed)

    return apply


class RewritingDatabase:
    """A database whose engine rewrites the statement of one record type.

    The engine shares the pool of the given database's engine. Listeners on that engine see the
    rewritten statements, and other users of that engine send theirs unchanged.
    """

    def __init__(self, db: Database, record_type: RecordType, rewrite: Rewrite) -> None:
        """Wrap a database.

        Args:
            db: The database.
            record_type: The record type whose statement is rewritten.
            rewrite: The change.
        """
        self._db = db
        self._record_type = record_type
        self._rewrite = rewrite
        self._source: Engine | None = None
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine that rewrites."""
        # Asked for every time: a closed database raises an error here, as without this wrapper.
        source = self._db.engine
        if self._engine is None or source is not self._source:
            self._source, self._engine = source, self._rewriting(source)
        return self._engine

    def _rewriting(self, source: Engine) -> Engine:
        # An engine with options has events apart from those of its source.
        engine = source.execution_options()

        # SQLite replaces no function while a statement is active on the connection.
        event.listen(engine, "engine_connect", add_functions)

        @event.listens_for(engine, "before_execute", retval=True)
        def rewrite(
            connection: Connection, statement: Any, many: Any, parameters: Any, _: Mapping[str, Any]
        ) -> Any:
            if selected_type(statement) is self._record_type:
                statement = self._rewrite(statement)
            return statement, many, parameters

        return engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def selected_type(statement: object) -> RecordType | None:
    """Return the record type whose columns a statement selects; None for any other statement."""
    if not isinstance(statement, Select):
        return None
    return _BY_COLUMNS.get(tuple(map(str, statement.selected_columns)))


_BY_COLUMNS: Mapping[tuple[str, ...], RecordType] = {
    tuple(map(str, record_type.columns)): record_type for record_type in RECORD_TYPES
}


def add_functions(connection: Connection) -> None:
    """Register the SQL functions that operators use and SQLite lacks."""
    if connection.dialect.name == "sqlite":
        driver_connection: Any = connection.connection.driver_connection
        for name, function in SQL_FUNCTIONS.items():
            driver_connection.create_function(name, 1, function, deterministic=True)


SQL_FUNCTIONS: dict[str, Callable[[Any], Any]] = {}
"""By name: functions of one argument. Modules of operators add theirs."""
