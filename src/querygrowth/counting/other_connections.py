"""Find the database connections of this process that a watched engine did not make.

An action can send statements through another engine, through `sqlite3.connect` or
`psycopg.connect`, or read the file of an SQLite database without a statement. No event of the
watched engine shows that. The functions that make a connection are replaced inside a block:
`sqlite3.connect` and the constructor of psycopg's connections. CPython's audit events show what
gets past them: connections of sqlite3 made by a name that was imported earlier, opened files, and
sockets.
"""

import gc
import os
import sqlite3
import sqlite3.dbapi2
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine

_HANDLE, _OPEN, _SOCKET = "sqlite3.connect/handle", "open", "socket.connect"
_SETTRACE = "sys.settrace"
_EVENTS = frozenset((_HANDLE, _OPEN, _SOCKET, _SETTRACE))
_POSTGRESQL_PORT = 5432

# An audit hook cannot be removed. There is one for the process, and it calls these while they last.
_observers: list[Callable[[str, tuple[Any, ...]], None]] = []
_installed = False


KNOWN: Counter[str] = Counter()
"""The connections of the counting program itself on a database file, by the path of the file."""


class Hooks(Protocol):
    """Hooks connections of a driver: a `HookedConnections`."""

    def hook(self, connection: Any) -> object:
        """Hook a connection, unless it has its hook already."""

    def was_hooked(self, connection: Any) -> bool:
        """Whether a connection has had a hook."""


@contextmanager
def observe_other_connections(engine: Engine, hooked: Hooks) -> Iterator[list[str]]:
    """Hook every connection of sqlite3 and psycopg in this process.

    These are the connections that are made inside the block, in any thread, and the connections of
    sqlite3 that exist when it begins. A connection that belongs to another thread and exists
    already cannot be hooked.

    Args:
        engine: The watched engine. Its own connections are hooked as well.
        hooked: Hooks connections.

    Yields:
        What was read and cannot be counted, a line for each kind; complete after the block.
    """
    found = _Found(engine, hooked)
    reported: list[str] = []
    with ExitStack() as stack:
        # A connection that an earlier action has left open, such as one in a class attribute. The
        # search looks at all objects, 10 ms for 100,000, so a glance at open files comes first.
        if found.is_sqlite and found.may_have_other_connections(engine):
            for each in [each for each in _objects() if type(each) is sqlite3.Connection]:
                found.connection(each)
        stack.enter_context(_observer(found.observe))
        # SQLAlchemy and its users look the function up in one of the two modules.
        stack.enter_context(_replaced(sqlite3, "connect", found.returned_by(sqlite3.connect)))
        stack.enter_context(
            _replaced(sqlite3.dbapi2, "connect", found.returned_by(sqlite3.dbapi2.connect))
        )
        psycopg = sys.modules.get("psycopg")
        if psycopg is not None:
            made = psycopg.Connection
            stack.enter_context(_replaced(made, "__init__", found.initialized_by(made.__init__)))
        try:
            yield reported
        finally:
            reported += found.uncounted()


@contextmanager
def observed_settrace() -> Iterator[list[str]]:
    """Note the calls of `sys.settrace` in this thread.

    Yields:
        A line for each call so far.
    """
    calls: list[str] = []
    thread = threading.get_ident()

    def observe(event: str, _arguments: tuple[Any, ...]) -> None:
        # A thread that starts sets the function that `threading.settrace` gave it.
        if event == _SETTRACE and threading.get_ident() == thread:
            calls.append(event)

    with _observer(observe):
        yield calls


class _Found:
    """The connections that were found, and what was read without one."""

    def __init__(self, engine: Engine, hooked: Hooks) -> None:
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._connections = hooked
        self._files = _database_files(engine)
        self._port = engine.url.port or _POSTGRESQL_PORT
        # Kept by id, because sqlite3's connections take no weak reference.
        self._made: dict[int, Any] = {}
        self._read: dict[str, None] = {}

    def connection(self, connection: Any) -> None:
        """Hook a connection; sqlite3 refuses that in a thread that did not make it."""
        with suppress(Exception):
            self._connections.hook(connection)

    def may_have_other_connections(self, engine: Engine) -> bool:
        """Whether this process may have the database file open outside the engine's pool."""
        opened = []
        try:
            for each in Path("/proc/self/fd").iterdir():
                # The descriptor of the listing itself is closed by now.
                with suppress(FileNotFoundError):
                    opened.append(str(each.readlink()))
            # The pools that SQLAlchemy uses for files count their connections.
            pooled = int(engine.pool.checkedin() + engine.pool.checkedout())  # type: ignore[attr-defined]
        except (OSError, AttributeError):
            return True  # not Linux, or a pool that does not count
        known = sum(KNOWN[path] for path in self._files)
        others = sum(path in self._files for path in opened if not path.endswith("-wal"))
        return others > pooled + known

    def returned_by(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what `connect` does, and hooks the connection."""

        def connected(*args: Any, **kwargs: Any) -> Any:
            connection = connect(*args, **kwargs)
            self.connection(connection)
            return connection

        return connected

    def initialized_by(self, initialize: Callable[..., None]) -> Callable[..., None]:
        """Return a constructor that does what `initialize` does, and hooks the connection."""

        def initialized(connection: Any, *args: Any, **kwargs: Any) -> None:
            initialize(connection, *args, **kwargs)
            self.connection(connection)

        return initialized

    def observe(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event."""
        if event == _HANDLE:
            # The constructor has not ended, and the connection takes no callback before it has.
            self._made[id(arguments[0])] = arguments[0]
        elif event == _OPEN and self._files and _real_path(arguments[0]) in self._files:
            self._read["the database file, opened past its driver"] = None
        elif event == _SOCKET and not self.is_sqlite and _port_of(arguments[1]) == self._port:
            self._read["a connection to the server by a driver that is not traced"] = None

    def uncounted(self) -> list[str]:
        """Return what was read and could not be counted."""
        # The engine's own connections are hooked at the latest when they are checked out.
        hidden = [each for each in self._made.values() if not self._connections.was_hooked(each)]
        lines = ["a connection of sqlite3 that is not traced"] if hidden else []
        return [*lines, *self._read]


def _objects() -> list[object]:
    """Return all objects that the garbage collector tracks, also those that are frozen."""
    if not gc.get_freeze_count():
        return gc.get_objects()
    # `get_objects` leaves out what was frozen, such as a connection in an attribute of a class.
    gc.unfreeze()
    found = gc.get_objects()
    gc.freeze()
    return found


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _observer(observe: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _observers.append(observe)
    try:
        yield
    finally:
        _observers.remove(observe)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Hot path: this runs for every audit event of the process, such as every import.
    if _observers and event in _EVENTS:
        for observe in list(_observers):
            # An error in an audit hook would abort what the program was about to do.
            with suppress(Exception):
                observe(event, arguments)


def _database_files(engine: Engine) -> frozenset[str]:
    """The paths of the files of an SQLite database; none for another database, or one in memory."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:":
        return frozenset()
    path = os.path.realpath(name.removeprefix("file:").partition("?")[0])
    return frozenset((path, f"{path}-wal"))


def _real_path(opened: object) -> str:
    # A number is a descriptor that is open already.
    return os.path.realpath(os.fsdecode(opened)) if isinstance(opened, (str, bytes)) else ""


def _port_of(address: object) -> object:
    return address[1] if isinstance(address, tuple) and len(address) > 1 else None
