"""Call plain and async functions alike, from a test that may itself run inside an event loop."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


def outside_event_loop(function: Callable[[], T]) -> T:
    """Call `function` where it may start an event loop: in a thread of its own if need be."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="harness") as thread:
        return thread.submit(function).result()


@contextmanager
def caller() -> Iterator["Caller"]:
    """A Caller whose one event loop lives as long as the block."""
    with asyncio.Runner() as runner:
        yield Caller(runner)


class Caller:
    """Runs what it is given to its result, on its event loop if that turns out to be async."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> object:
        """The function's result, awaited if it can be."""
        result = function(*args, **kwargs)
        return self._wait_for(result) if inspect.isawaitable(result) else result

    @contextmanager
    def entered(self, resource: object) -> Iterator[object]:
        """What a context manager, async or not, yields; anything else as it is."""
        if isinstance(resource, AbstractContextManager):
            with resource as value:
                yield value
        elif isinstance(resource, AbstractAsyncContextManager):
            value = self._wait_for(resource.__aenter__())
            try:
                yield value
            finally:
                self._wait_for(resource.__aexit__(None, None, None))
        else:
            yield resource

    def _wait_for(self, awaitable: Awaitable[T]) -> T:
        async def result() -> T:
            return await awaitable

        return self._runner.run(result())
