"""Workers of a parallel export in threads of this process instead of new processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from typing import Any

import pytest

from elspeth.core.landscape.export import parallel
from elspeth.core.landscape.export.worker_secrets import Secrets, give_secrets


class _Awaited(Executor):
    """Keeps what it has submitted to another executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = self._executor.submit(fn, *args, **kwargs)
        self.futures.append(future)
        return future


@contextmanager
def workers_in(executor: Executor) -> Iterator[None]:
    """Run the workers of `jobs` in an executor while the block runs, on both backends.

    What they do is the same as in new processes, which take half a second to start.
    """

    @contextmanager
    def given(count: int, secrets: Secrets) -> Iterator[Sequence[Executor]]:
        give_secrets(secrets)
        awaited = _Awaited(executor)
        try:
            yield [awaited] * count
        finally:
            # A thread cannot be ended like a process. One that still reads when its test is over
            # would lose its connection to what the next test does with the database, and the driver
            # warns of cursors that it could not close.
            wait(awaited.futures)
            give_secrets(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "worker_processes", given)
        yield
