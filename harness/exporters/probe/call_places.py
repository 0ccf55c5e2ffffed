"""The places from which a script calls an exporter: another thread, an event loop, a full disk."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class Text(str):
    """A run id that is a str, but not of the class str.

    An exporter may send it to a new process, which cannot import this class and gets a str.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def _in_thread(action: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(action).result()


def _in_event_loop(action: Callable[[], None]) -> None:
    async def call() -> None:
        action()

    asyncio.run(call())


PLACES: Mapping[str, Callable[[Callable[[], None]], None]] = {
    "here": lambda action: action(),
    "thread": _in_thread,
    "event loop": _in_event_loop,
}
"""How to call an action from a place, by the names that the steps of a script take."""


@contextmanager
def limited_files(most_bytes: int | None) -> Iterator[None]:
    """Refuse to write more bytes into any file of this process; None for no limit.

    Python ignores the signal of this limit, so that writing fails with an OSError, as on a full
    disk.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
