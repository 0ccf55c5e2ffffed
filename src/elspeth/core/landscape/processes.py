"""Processes of an export's own: one for each worker, gone when the export is."""

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from threading import Thread


@contextmanager
def own_processes(count: int) -> Iterator[Sequence[Executor]]:
    """Hold so many executors of one new process each, and end the processes when left.

    One each, so that a process which dies takes nobody's work with it and can be named. They are
    spawned: a fork of a process that has threads may never run.
    """
    lifeline, parent_end = Pipe(duplex=False)
    pools = [
        ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_settle_in, initargs=(lifeline,)
        )
        for _ in range(count)
    ]
    try:
        yield pools
    finally:
        parent_end.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        lifeline.close()


def _settle_in(lifeline: Connection) -> None:
    """End this process as soon as the parent's end is closed, which a killed parent's is too."""
    # Rows become lines without any reference cycle: to look for some takes a tenth of the time.
    gc.disable()
    # Ctrl-C reaches every process of a terminal; what is to be done then is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
