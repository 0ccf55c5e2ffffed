"""One statement as SQLAlchemy sent it, in readable form."""

from dataclasses import dataclass

from querygrowth.counting.statements import Shape, StatementKind
from querygrowth.places.call_sites import CallSite
from querygrowth.places.orm_loads import Load


@dataclass(frozen=True)
class Query:
    """One statement as SQLAlchemy sent it.

    Attributes:
        number: Counts from 1 in order of sending, over statements of every kind.
        sql: The text that was sent.
        shape: The text without its values, and the tables that it reads or writes.
        kind: Query, session statement or other statement.
        batch_size: The number of parameter sets; 1 unless it is an `executemany`.
        parameter_count: The number of values in its parameter set, mostly those of an IN list;
            0 for an `executemany`.
        rows_fetched: The rows that left its cursor so far.
        steps: The steps of SQLite's machine from its sending to its last row; 0 unless they were
            counted.
        failed: Whether the database refused it.
        continued: Whether SQLAlchemy sent it for further rows of a bulk INSERT, or for the further
            parents of an eager load, that it had split.
        seconds: From sending to the last row fetched or the closing of the cursor, including the
            reader's pauses. None while rows are left and the cursor is open.
        checkout: The number of the pool checkout it belongs to, from 1; None if that began before
            counting did.
        transaction: The number of the transaction it belongs to, likewise.
        sent_from: The nearest caller outside SQLAlchemy and this package.
        project_site: The nearest caller in the user's project.
        callers: All callers in the user's project, the nearest first.
        entry: The name of the function of SQLAlchemy that the nearest caller called, such as
            "commit"; empty if it is unknown.
        load: Why the ORM sent it; None for a statement of Core.
        parameters: The values sent; None unless `keep_parameters` was set.
    """

    number: int
    sql: str
    shape: Shape
    kind: StatementKind
    batch_size: int
    parameter_count: int
    rows_fetched: int
    steps: int
    failed: bool
    continued: bool
    seconds: float | None
    checkout: int | None
    transaction: int | None
    sent_from: CallSite | None
    project_site: CallSite | None
    callers: tuple[CallSite, ...]
    entry: str
    load: Load | None
    parameters: object

    @property
    def operation(self) -> str:
        """SELECT, INSERT, UPDATE, DELETE or MERGE; the first keyword of any other statement."""
        return self.shape.operation

    @property
    def site(self) -> CallSite | None:
        """The caller in the project if there is one, else the nearest caller."""
        return self.project_site or self.sent_from
