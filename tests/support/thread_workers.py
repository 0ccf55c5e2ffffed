"""Workers of a parallel export in threads of this process instead of new processes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

import pytest

from elspeth.core.landscape.export import parallel
from elspeth.core.landscape.export.worker_secrets import Secrets, give_secrets


@contextmanager
def workers_in(executor: Executor) -> Iterator[None]:
    """Run the workers of `jobs` in an executor while the block runs, on both backends.

    What they do is the same as in new processes, which take half a second to start.
    """

    @contextmanager
    def given(count: int, secrets: Secrets) -> Iterator[Sequence[Executor]]:
        give_secrets(secrets)
        try:
            yield [executor] * count
        finally:
            give_secrets(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "worker_processes", given)
        yield
