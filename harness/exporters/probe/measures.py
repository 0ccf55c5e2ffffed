"""Time exports and measure their memory, in passes without listeners."""

from __future__ import annotations

import ctypes
import gc
import importlib
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .exports import RecordsError

WARMUPS = 1
"""Exports before the first timed one. They import modules and compile statements."""


def seconds_of(action: Callable[[], object]) -> float:
    """Perform an action and return its seconds."""
    # Otherwise the collection of earlier garbage could fall into the measured time.
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def times_after_warm_up(action: Callable[[], object], tries: int) -> dict[str, list[float]]:
    """Perform an action without and then with clocks.

    Returns:
        For every try `seconds` of wall time, `cpu_seconds` of all threads and processes, and
        `core_waits`, the seconds in which the main thread could run and had no core.
    """
    for _ in range(WARMUPS):
        action()
    times: dict[str, list[float]] = {"seconds": [], "cpu_seconds": [], "core_waits": []}
    for _ in range(tries):
        # The collection of garbage would count as time of the action.
        gc.collect()
        started = time.perf_counter(), cpu_time(), waited_for_a_core()
        action()
        times["seconds"].append(time.perf_counter() - started[0])
        times["cpu_seconds"].append(cpu_time() - started[1])
        times["core_waits"].append(waited_for_a_core() - started[2])
    return times


def cpu_time() -> float:
    """Return the CPU seconds of this process and of the finished ones that it started."""
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def waited_for_a_core() -> float:
    """Return the seconds that the main thread could run and had no core; 0 where unknown."""
    # Linux counts them in nanoseconds, in the second field.
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def read_to_first_row(exporter: Any, run_id: str, *, sign: bool = True) -> None:
    """Read the records of an export up to its first `row` record."""
    records = iter(exporter.export_run(run_id, sign=sign))
    next((each for each in records if each["record_type"] == "row"), None)
    # An abandoned generator keeps its transaction open until it is collected.
    close = getattr(records, "close", None)
    if close is not None:
        close()


def memory_of(export: Callable[[], object]) -> dict[str, int]:
    """Return the resident bytes of this process before an export, and at its highest."""
    start = resident_bytes("VmRSS")
    export()
    return {"start_bytes": start, "peak_bytes": resident_bytes("VmHWM")}


def held_bytes_of(
    export: Callable[[], object], tries: int, release: Callable[[], object] = lambda: None
) -> dict[str, list[int]]:
    """Return what Python's allocator holds, exactly, for exports in one process.

    Memory of the database library is not among it.

    Args:
        export: Exports once.
        tries: How often to export.
        release: Gives up what the harness keeps from one export to the next.

    Returns:
        `peaks`: by export, the bytes that it held at most. `left`: the bytes that are held after
        it and were not before the first.
    """
    peaks, left = [], []
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(tries):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            known = bytearray(1)
            export()
            # None if nothing is traced any more, and if the traces were cleared in between.
            if tracemalloc.get_object_traceback(known) is None:
                raise RecordsError("not counted: it ended the trace of memory by tracemalloc")
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
            release()
            # Cycles that nothing refers to are not held.
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return {"peaks": peaks, "left": left}


def drop_connection(engine: Any) -> None:
    """Close the pooled connection that comes next: it keeps references to its last 200 cursors."""
    with engine.connect() as connection:
        connection.invalidate()


SMALL_OBJECT_BYTES = 512
"""The largest object that Python's allocator counts as a block of its small objects."""

# Frequent enough for a peak: at most the rows of 20 records are read between two samples.
_STEPS_PER_SAMPLE = 1_000


def sampled_peaks_of(export: Callable[[], object], engine: Any) -> dict[str, int] | None:
    """Return the most small objects and the most bytes of larger ones during one export.

    SQLite calls back after every thousand of its steps, and the garbage collector whenever it runs.
    To count then takes a tenth of the time that tracing every allocation takes.

    Args:
        export: Exports once.
        engine: The engine that it reads from.

    Returns:
        The most `objects` and `bytes`, and those `left_objects` and `left_bytes` that remain after
        the export, and the most `database_bytes` of SQLite, all above those before it; and the
        number of `samples`. None where they cannot be counted: on another system or database.
    """
    sqlite, large_bytes = _sqlite_memory(), _large_bytes_counter()
    if sqlite is None or large_bytes is None or engine.dialect.driver != "pysqlite":
        return None
    gc.collect()
    # SQLite keeps the most that it has used, exactly, since it was asked to forget it.
    sqlite.sqlite3_memory_highwater(1)
    database = sqlite.sqlite3_memory_used()
    objects, large, samples = sys.getallocatedblocks(), large_bytes(), 0
    most_objects, most_large = objects, large

    def sample(*_: object) -> int:
        nonlocal most_objects, most_large, samples
        most_objects = max(most_objects, sys.getallocatedblocks())
        most_large = max(most_large, large_bytes())
        samples += 1
        return 0

    gc.callbacks.append(sample)
    try:
        with _called_in_steps(engine, sample) as used:
            export()
            is_replaced = sample not in gc.callbacks or not all(
                _may_call(each, sample) for each in used
            )
    finally:
        with suppress(ValueError):  # The exporter may have removed it.
            gc.callbacks.remove(sample)
    # Without any objects, Python runs with another allocator.
    if not objects or is_replaced:
        return None
    gc.collect()
    return {
        "objects": most_objects - objects,
        "bytes": most_large - large,
        "left_objects": sys.getallocatedblocks() - objects,
        "left_bytes": large_bytes() - large,
        "database_bytes": sqlite.sqlite3_memory_highwater(0) - database,
        "samples": samples,
    }


@contextmanager
def _called_in_steps(engine: Any, function: Callable[[], int]) -> Iterator[list[Any]]:
    """Call a function after every `_STEPS_PER_SAMPLE` steps of the connections of an engine.

    Yields:
        The connections so far.
    """
    from sqlalchemy import event

    used: list[Any] = []

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(function, _STEPS_PER_SAMPLE)
        used.append(connection)

    event.listen(engine, "checkout", watch)
    try:
        yield used
    finally:
        event.remove(engine, "checkout", watch)
        for each in used:
            with suppress(Exception):  # It may be closed.
                each.set_progress_handler(None, 0)


def _may_call(connection: Any, function: Callable[[], int]) -> bool:
    """Return whether a function is still a callback of a connection; true if that is closed."""
    # sqlite3 says nowhere which callbacks are set, but the garbage collector knows them.
    if any(each is function for each in gc.get_referents(connection)):
        return True
    try:
        return bool(connection.total_changes < 0)
    except Exception:
        return True


class _MallocState(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _sqlite_memory() -> Any:
    """Return the functions of SQLite that count its memory; None where they are not found."""
    try:
        sqlite = ctypes.CDLL(importlib.import_module("_sqlite3").__file__)
        for function in (sqlite.sqlite3_memory_used, sqlite.sqlite3_memory_highwater):
            function.restype = ctypes.c_int64
    except (AttributeError, OSError, TypeError):
        return None
    return sqlite


def _large_bytes_counter() -> Callable[[], int] | None:
    """Return a function that counts the bytes of objects that are not small, without SQLite's.

    None where the libraries do not say.
    """
    sqlite = _sqlite_memory()
    try:
        malloc = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    if sqlite is None:
        return None
    malloc.restype = _MallocState

    def count() -> int:
        state = malloc()
        return int(state.uordblks + state.hblkhd - sqlite.sqlite3_memory_used())

    return count


def resident_bytes(field: str) -> int:
    """Read a field of Linux's /proc/self/status, in bytes; elsewhere, the maximum so far."""
    status = Path("/proc/self/status")
    if not status.exists():
        # macOS counts it in bytes, and for the program that runs now.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux `getrusage` reports a maximum that includes the process before `exec`: the harness.
    for line in status.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")
