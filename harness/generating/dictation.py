"""Dictation: a recorder in one open transaction, whose clock and ids say what they are told to."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder


class Dictation:
    """Lets the recorder record what was planned, to the microsecond and to the id."""

    def __init__(self, connection: Connection) -> None:
        """Record in the transaction that is open on a connection."""
        self._times: deque[str] = deque()
        self._ids: deque[str] = deque()
        self.recorder = LandscapeRecorder(
            _OneTransaction(connection), clock=self._clock, new_id=self._ids.popleft
        )

    def _clock(self) -> datetime:
        return datetime.fromisoformat(self._times.popleft()).replace(tzinfo=UTC)

    @contextmanager
    def taking(self, *times: str, ids: Iterable[str] = ()) -> Iterator[LandscapeRecorder]:
        """Lay out the times and ids that the calls in this block read, in their order, all."""
        self._times += times
        self._ids += ids
        yield self.recorder
        if self._times or self._ids:
            raise AssertionError(f"The recorder left {[*self._times, *self._ids]} unread")


class _OneTransaction(LandscapeDB):
    """A database whose every transaction is part of one that is open already."""

    def __init__(self, connection: Connection) -> None:
        self._engine = connection.engine
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield the open connection, and leave its transaction open."""
        yield self._connection
