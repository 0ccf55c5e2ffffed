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
    """

    def __init__(self, make_recording: Callable[[], Recording]) -> None:
        self._make_recording = make_recording
        # Keyed by id(), and the engine is kept, so that no other engine gets its id.
        self._recorded: dict[int, EngineRecording] = {}

    @property
    def recorded(self) -> list[EngineRecording]:
        """The recordings until now."""
        # A copy, because other threads may use further engines while this one reads.
        return list(self._recorded.values())

    def of(self, engine: Engine) -> EngineRecording:
        """The recording of an engine, which is made when the engine is first seen."""
        # An engine with execution options is a view of another engine, on the same pool.
        while (original := getattr(engine, "_proxied", None)) is not None:
            engine = original
        found = self._recorded.get(id(engine))
        if found is None:
            recording = self._make_recording()
            new = EngineRecording(engine, recording, recording.listeners())
            found = self._recorded.setdefault(id(engine), new)
        return found

    def listener(self, name: str) -> Callable[..., object]:
        """A listener that passes an event to the recording of its engine."""

        def forward(connection: Connection, *arguments: object) -> object:
            return self.of(connection.engine).listeners[name](connection, *arguments)

        return forward

    def connected(self, connection: Connection) -> None:
        """Note the checkout of a new connection."""
        self.of(connection.engine).listeners["checkout"](None, None, connection.connection)


@contextmanager
def record_every_engine(make_recording: Callable[[], Recording]) -> Iterator[EveryEngine]:
    """Record what any engine of the process sends inside the block.

    Args:
        make_recording: Makes the recording of an engine.
    """
    every = EveryEngine(make_recording)
    listeners: dict[str, Callable[..., Any]] = {
        name: every.listener(name)
        for name in make_recording().listeners()
        if name not in _OF_THE_POOL
    }
    with listening(Engine, {**listeners, "engine_connect": every.connected}):
        yield every
