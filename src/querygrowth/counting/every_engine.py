"""Record the statements of all engines in this process, those that are made later included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from querygrowth.counting.listener import Recording, attached, transaction_listeners
from querygrowth.places.stack import StackWalker


@dataclass(frozen=True)
class EngineRecording:
    """What one engine sent.

    Attributes:
        engine: The engine.
        recording: Its statements, transactions and checkouts.
        listeners: The listeners of the recording, by the name of their event.
    """

    engine: Engine
    recording: Recording
    listeners: dict[str, Callable[..., object]]


class EveryEngine:
    """The recordings of the engines that were used, the one used first at the beginning.

    Args:
        keep_parameters: Whether to keep the values that were sent.
        count_rows: Whether to count the rows that are fetched.
        but: An engine that is left out.
    """

    def __init__(
        self,
        *,
        keep_parameters: bool = False,
        count_rows: bool = True,
        but: Engine | None = None,
    ) -> None:
        self._but = None if but is None else _original(but)
        self._keep_parameters = keep_parameters
        self._count_rows = count_rows
        self.begin(None)

    def begin(self, walker: StackWalker | None) -> None:
        """Begin again with nothing recorded.

        Args:
            walker: Finds the callers of a statement; None leaves them out.
        """
        self.paused = False
        self._walker = walker
        # Keyed by id(), and the engine is kept, so that no other engine gets its id.
        self.recorded: dict[int, EngineRecording] = {}

    def pause(self) -> None:
        """Record nothing until the next `begin`, and keep no engine."""
        self.paused = True
        self.recorded = {}

    def listeners(self) -> dict[str, Callable[..., object]]:
        """The listeners to attach to the class of all engines, by the name of their event."""
        return {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            **transaction_listeners(self._begun, self._committed, self._rolled_back),
            # The events of the pool do not say which engine they are for.
            "engine_connect": self._connected,
        }

    def of(self, engine: Engine) -> EngineRecording:
        """The recording of an engine, which is made when the engine is first seen."""
        engine = _original(engine)
        found = self.recorded.get(id(engine))
        if found is None:
            recording = Recording(
                walker=self._walker,
                keep_parameters=self._keep_parameters,
                count_rows=self._count_rows,
            )
            new = EngineRecording(engine, recording, recording.listeners())
            found = self.recorded.setdefault(id(engine), new)
        return found

    def has_recorded(self, engine: Engine) -> bool:
        """Whether an engine was used since the last `begin`."""
        return id(_original(engine)) in self.recorded

    def _records(self, connection: Connection) -> bool:
        if self.paused:
            return False
        return self._but is None or _original(connection.engine) is not self._but

    def _forward(self, name: str, connection: Connection, *arguments: object) -> object:
        if not self._records(connection):
            return None
        return self.of(connection.engine).listeners[name](connection, *arguments)

    def _before(
        self, connection: Connection, cursor: object, statement: str, parameters: Any, *rest: object
    ) -> tuple[str, Any]:
        if self._records(connection):
            forward = self.of(connection.engine).listeners["before_cursor_execute"]
            forward(connection, cursor, statement, parameters, *rest)
        return statement, parameters

    def _after(self, connection: Connection, *rest: object) -> None:
        self._forward("after_cursor_execute", connection, *rest)

    def _begun(self, connection: Connection, *rest: object) -> None:
        self._forward("begin", connection, *rest)

    def _committed(self, connection: Connection, *rest: object) -> None:
        self._forward("commit", connection, *rest)

    def _rolled_back(self, connection: Connection, *rest: object) -> None:
        self._forward("rollback", connection, *rest)

    def _connected(self, connection: Connection) -> None:
        if self._records(connection):
            self.of(connection.engine).listeners["checkout"](None, None, connection.connection)


def _original(engine: Engine) -> Engine:
    # An engine with execution options is a view of another engine, on the same pool.
    while (original := getattr(engine, "_proxied", None)) is not None:
        engine = original
    return engine


def add_recording(recording: Recording, other: Recording) -> None:
    """Add what another engine sent, in the order of time.

    Args:
        recording: Gets the statements, transactions and checkouts. It is complete.
        other: Those of the other engine. It is complete, and not used any more.
    """
    for execution in other.executions:
        # They are numbered from 1 in each recording.
        if execution.transaction is not None:
            execution.transaction += recording.transactions_begun
        if execution.checkout is not None:
            execution.checkout += recording.checkouts
    recording.executions = sorted(
        [*recording.executions, *other.executions], key=lambda each: each.started
    )
    recording.transactions_begun += other.transactions_begun
    recording.commits += other.commits
    recording.rollbacks += other.rollbacks
    recording.checkouts += other.checkouts
    recording.empty_transactions += other.empty_transactions
    recording.empty_checkouts += other.empty_checkouts


@contextmanager
def record_every_engine(
    walker: StackWalker | None, *, keep_parameters: bool, but: Engine | None = None
) -> Iterator[EveryEngine]:
    """Record what any engine of the process sends inside the block.

    Args:
        walker: Finds the callers of a statement; None leaves them out.
        keep_parameters: Whether to keep the values that were sent.
        but: An engine that is left out.
    """
    every = EveryEngine(keep_parameters=keep_parameters, but=but)
    every.begin(walker)
    with attached(Engine, every.listeners()):
        yield every
