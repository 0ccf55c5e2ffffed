"""Record the statements of one SQLAlchemy engine, through SQLAlchemy's public events.

`Recording` holds the listeners. `querygrowth.counting.query_log` interprets what they record.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from querygrowth.counting.execution import Execution, counting
from querygrowth.counting.statements import DriverReport, needs_report
from querygrowth.places.call_sites import Callers
from querygrowth.places.orm_loads import Reason, loads_subclass, raw_load
from querygrowth.places.stack import StackWalker

# Frame 0 is the listener itself, and frames 1 and 2 are always SQLAlchemy's.
_FIRST_CALLER = 3
_TWO_PHASE = frozenset(("begin_twophase", "commit_twophase", "rollback_twophase"))
# An attribute of an Enum class is slow to read.
_EAGER, _QUERY = Reason.EAGER, Reason.QUERY


def attached(
    engine: Engine | type[Engine], listeners: dict[str, Callable[..., object]]
) -> ExitStack:
    """Attach listeners by event name. The end of a block with the result detaches them.

    That of `before_cursor_execute` returns the statement and its parameters.
    """
    # Attaching is most of the cost of a short block, and some dialects have no two-phase
    # transactions, such as SQLite's. A class of engines has no dialect.
    dialect = getattr(engine, "dialect", None)
    begin = getattr(getattr(dialect, "do_begin_twophase", None), "__func__", None)
    needless = _TWO_PHASE if begin is Dialect.do_begin_twophase else ()
    # Each is registered for removal at once, so that a failure half way leaves none attached.
    with ExitStack() as listening:
        for name, listener in listeners.items():
            if name in needless:
                continue
            if name == "before_cursor_execute":
                # Without it, SQLAlchemy calls the listener through a function that returns these.
                event.listen(engine, name, listener, retval=True)
            else:
                event.listen(engine, name, listener)
            listening.callback(event.remove, engine, name, listener)
        return listening.pop_all()


class Recording:
    """The statements, transactions and checkouts of one engine, in order.

    Args:
        walker: Finds the callers of a statement; None leaves them out.
        keep_parameters: Whether to keep the values that were sent.
        count_rows: Whether to count the rows that are fetched.
    """

    def __init__(
        self, *, walker: StackWalker | None, keep_parameters: bool, count_rows: bool = True
    ) -> None:
        self._keep_parameters = keep_parameters
        self._count_rows = count_rows
        self._steps: Callable[[], int] | None = None
        self.begin(walker)

    def begin(self, walker: StackWalker | None) -> None:
        """Begin again with nothing recorded.

        Args:
            walker: Finds the callers of a statement; None leaves them out.
        """
        self.paused = False
        self._walker = walker
        # Several threads write here without a lock. Appending to a list and setting a key are
        # atomic in CPython, and the keys belong to one connection, which one thread uses at a time.
        # With its GIL, CPython 3.10 and later switch threads at calls and jumps, so not in `+= 1`.
        self.executions: list[Execution] = []
        self.transactions_begun = 0
        self.commits = 0
        self.rollbacks = 0
        self.checkouts = 0
        # The callers of transactions and checkouts in which no statement was sent. Those of others
        # are the callers of their first statement.
        self.empty_transactions: list[Callers] = []
        self.empty_checkouts: list[Callers] = []
        # Keyed by id(), because a reference would keep contexts and connections alive. If an id is
        # used again, its new owner overwrites the entry when it begins.
        self._running: dict[int, Execution] = {}
        # By text, because a look-up here is cheaper than a call. Executions keep the texts anyway.
        self._needs_report: dict[str, bool] = {}
        self._transaction_of: dict[int, int] = {}
        # What SQLAlchemy sends in parts: contexts of bulk INSERTs, and statements of eager loads.
        # Weak, so that none is kept alive, and its address is not taken for another's.
        self._in_parts: WeakValueDictionary[int, object] = WeakValueDictionary()
        # By connection and path of an eager load, whether its last statement was a further part.
        self._further_part: dict[tuple[int, tuple[object, ...]], bool] = {}
        self._checkout_of: dict[int, int] = {}
        # For a transaction or checkout: its number, and the number of statements sent before it.
        self._begun_after: dict[int, int] = {}
        self._checked_out_after: dict[int, tuple[int, int]] = {}

    def pause(self) -> None:
        """Record nothing until the next `begin`. What is recorded can be read until then."""
        self.paused = True
        self._running.clear()
        self._checked_out_after.clear()

    def count_steps_with(self, steps: Callable[[], int]) -> None:
        """Note for every statement how far `steps` counts until its last row was fetched."""
        self._steps = steps

    def listeners(self) -> dict[str, Callable[..., object]]:
        """The listeners to attach, by the name of their event."""
        return {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            **transaction_listeners(self._begun, self._committed, self._rolled_back),
            "checkout": self._checked_out,
            "checkin": self._checked_in,
        }

    def _before(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,  # a mapping, a sequence, or a list of either: the driver decides
        context: ExecutionContext | None,
        executemany: bool,
    ) -> tuple[str, Any]:
        # This runs inside every statement of the user: facts are stored, nothing is interpreted.
        if self.paused:
            return statement, parameters
        walker = self._walker
        # A bulk INSERT that SQLAlchemy splits into statements (insertmanyvalues) says that it is an
        # executemany, but each statement has one set of values, and all have the same context.
        batch = executemany and not isinstance(parameters, list)
        load = raw_load(context) if walker else None
        continued = batch and self._is_further_part(context)
        if load is not None:
            if load[0] is _EAGER:
                continued = self._is_further_chunk(connection, context, load[2].path)
            elif load[0] is _QUERY and loads_subclass(context):
                continued = self._is_further_chunk(connection, context, ())
            elif self._further_part:
                self._further_part.pop((id(connection), ()), None)
        execution = Execution(
            statement,
            len(parameters) if parameters else 0,
            executemany and not batch,
            # The proxy of this checkout. The DBAPI connection behind it outlives the checkout.
            self._checkout_of.get(id(connection.connection)),
            self._transaction_of.get(id(connection)),
            walker.callers_of_statement() if walker else None,
            parameters if self._keep_parameters else None,
            load,
            continued,
        )
        if self._steps is not None:
            execution.count_steps_with(self._steps)
        self._running[id(context)] = execution
        self.executions.append(execution)
        return statement, parameters

    def _is_further_part(self, whole: object) -> bool:
        """Whether a part of `whole` was sent before. Without it, the parts are not known."""
        if whole is None:
            return False
        known = self._in_parts.get(id(whole)) is whole
        self._in_parts[id(whole)] = whole
        return known

    def _is_further_chunk(
        self, connection: Connection, context: Any, path: tuple[object, ...]
    ) -> bool:
        """Whether SQLAlchemy sends an eager load because it splits one, as `selectinload` does.

        It makes one statement for a load and executes it for every 500 parents. Eager loads of the
        children are made for each of these chunks.

        Args:
            connection: The one that the statement is sent on.
            context: The ExecutionContext of the statement.
            path: The path of the load; empty for the columns of a subclass.
        """
        further = self._is_further_part(context.invoked_statement)
        # The path ends with the class and the relationship. What is before them led to the parents.
        if path and not further:
            further = self._further_part.get((id(connection), path[:-2]), False)
        self._further_part[id(connection), path] = further
        return further

    def _after(
        self,
        connection: Connection,
        cursor: Any,  # a DBAPICursor, to which drivers add attributes
        statement: str,
        parameters: Any,
        context: Any,  # an ExecutionContext or None; Any, as its cursor is replaced
        executemany: bool,
    ) -> None:
        execution = self._running.pop(id(context), None)
        if execution is None:
            return  # it began before this recording did
        execution.failed = False
        needed = self._needs_report.get(statement)
        if needed is None:
            needed = self._needs_report[statement] = needs_report(statement)
        if needed:
            execution.report = DriverReport(
                cursor.description is not None,
                cursor.rowcount,
                getattr(cursor, "statusmessage", None),
            )
        # A batched INSERT reads its returned rows from the bare cursor between its batches.
        # psycopg2's named cursors have no description before the first FETCH.
        if (
            context is None
            or executemany
            or not self._count_rows
            or (cursor.description is None and getattr(cursor, "name", None) is None)
        ):
            execution.end()
            return
        context.cursor = counting(context.cursor, execution)

    def _begun(self, connection: Connection, *_twophase: object) -> None:
        if self.paused:
            return
        self.transactions_begun += 1
        self._transaction_of[id(connection)] = self.transactions_begun
        self._begun_after[id(connection)] = len(self.executions)

    def _committed(self, connection: Connection, *_twophase: object) -> None:
        if self.paused:
            return
        self.commits += 1
        self._transaction_ended(connection)

    def _rolled_back(self, connection: Connection, *_twophase: object) -> None:
        if self.paused:
            return
        self.rollbacks += 1
        self._transaction_ended(connection)

    def _transaction_ended(self, connection: Connection) -> None:
        number = self._transaction_of.pop(id(connection), None)
        before = self._begun_after.pop(id(connection), 0)
        if number is None or self._walker is None:
            return
        # Mostly the first statement in question is of this transaction.
        if not any(sent.transaction == number for sent in islice(self.executions, before, None)):
            self.empty_transactions.append(self._walker.callers(sys._getframe(_FIRST_CALLER)))

    def _checked_out(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        if self.paused:
            return
        self.checkouts += 1
        self._checkout_of[id(proxy)] = self.checkouts
        self._checked_out_after[id(record)] = (self.checkouts, len(self.executions))

    def _checked_in(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        number, before = self._checked_out_after.pop(id(record), (None, 0))
        if number is None or self._walker is None:
            return
        if not any(sent.checkout == number for sent in islice(self.executions, before, None)):
            self.empty_checkouts.append(self._walker.callers(sys._getframe(_FIRST_CALLER)))


def transaction_listeners(
    begun: Callable[..., object],
    committed: Callable[..., object],
    rolled_back: Callable[..., object],
) -> dict[str, Callable[..., object]]:
    """The listeners of plain and of two-phase transactions, by the name of their event."""
    return {
        "begin": begun,
        "commit": committed,
        "rollback": rolled_back,
        "begin_twophase": begun,
        "commit_twophase": committed,
        "rollback_twophase": rolled_back,
    }
