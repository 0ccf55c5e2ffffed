"""Cuts the connections of an engine, for when its server has stopped answering."""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError


class OpenConnections:
    """The driver connections that an engine has open."""

    def __init__(self, engine: Engine) -> None:
        self._open: set[Any] = set()
        event.listen(engine, "connect", lambda connection, _: self._open.add(connection))
        for closing in ("close", "close_detached"):
            event.listen(engine, closing, lambda connection, *_: self._open.discard(connection))

    def cut(self) -> None:
        """Shut their sockets down: a driver that waits on one sees it end. SQLite has none."""
        for connection in tuple(self._open):
            fileno = getattr(connection, "fileno", None)
            # Closed meanwhile, or ended by the other side: cut already.
            with suppress(Exception):
                if fileno is not None:
                    _shut_down(fileno())


@contextmanager
def lent(connecting: AbstractContextManager[Connection]) -> Iterator[Connection]:
    """Lend a connection; what giving it back raises does not hide what the block has raised.

    One that was cut cannot be rolled back.
    """
    reasons: list[BaseException] = []
    try:
        with connecting as connection:
            try:
                yield connection
            except BaseException as error:
                reasons.append(error)
                raise
    except DBAPIError as error:
        if reasons and reasons[0] is not error:
            raise reasons[0] from error
        raise


def _shut_down(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
