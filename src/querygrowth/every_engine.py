"""Record the statements of all engines in this process, those that are made later included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from querygrowth.listener import Recording, listening

# These events do not say which engine they are for.
_OF_THE_POOL = frozenset({"checkout", "checkin"})


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
        make_recording: Makes the recording of an engine.
        but: An engine that is left out.
    """

    def __init__(self, make_recording: Callable[[], Recording], but: Engine | None = None) -> None:
        self._make_recording = make_recording
        self._but = None if but is None else _original(but)
        # Keyed by id(), and the engine is kept, so that no other engine gets its id.
        self._recorded: dict[int, EngineRecording] = {}

    @property
    def recorded(self) -> list[EngineRecording]:
        """The recordings until now."""
        # A copy, because other threads may use further engines while this one reads.
        return list(self._recorded.values())

    def of(self, engine: Engine) -> EngineRecording:
        """The recording of an engine, which is made when the engine is first seen."""
        engine = _original(engine)
        found = self._recorded.get(id(engine))
        if found is None:
            recording = self._make_recording()
            new = EngineRecording(engine, recording, recording.listeners())
            found = self._recorded.setdefault(id(engine), new)
        return found

    def listener(self, name: str) -> Callable[..., object]:
        """A listener that passes an event to the recording of its engine."""

        def forward(connection: Connection, *arguments: object) -> object:
            if self._but is None or _original(connection.engine) is not self._but:
                return self.of(connection.engine).listeners[name](connection, *arguments)
            # The statement and its parameters, which SQLAlchemy takes from this listener.
            return arguments[1:3] if name == "before_cursor_execute" else None

        return forward

    def connected(self, connection: Connection) -> None:
        """Note the checkout of a new connection."""
        if self._but is None or _original(connection.engine) is not self._but:
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
    make_recording: Callable[[], Recording], but: Engine | None = None
) -> Iterator[EveryEngine]:
    """Record what any engine of the process sends inside the block.

    Args:
        make_recording: Makes the recording of an engine.
        but: An engine that is left out.
    """
    every = EveryEngine(make_recording, but)
    listeners: dict[str, Callable[..., Any]] = {
        name: every.listener(name)
        for name in make_recording().listeners()
        if name not in _OF_THE_POOL
    }
    with listening(Engine, {**listeners, "engine_connect": every.connected}):
        yield every
