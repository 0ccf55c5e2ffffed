"""Time exports and measure their memory, in passes without listeners."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARMUPS = 1
"""Exports before the first timed one. They import modules and compile statements."""


def seconds_of(action: Callable[[], object]) -> float:
    """Perform an action and return its seconds."""
    # Otherwise the collection of earlier garbage could fall into the measured time.
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def times_after_warm_up(action: Callable[[], object], tries: int) -> list[float]:
    """Perform an action without and then with a clock, and return the seconds of each try."""
    for _ in range(WARMUPS):
        action()
    return [seconds_of(action) for _ in range(tries)]


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


def held_bytes_of(export: Callable[[], object], tries: int) -> dict[str, list[int]]:
    """Return what Python's allocator holds, exactly, for exports in one process.

    Memory of the database library is not among it.

    Args:
        export: Exports once.
        tries: How often to export.

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
            export()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
            # Cycles that nothing refers to are not held.
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return {"peaks": peaks, "left": left}


def resident_bytes(field: str) -> int:
    """Read a field of Linux's /proc/self/status, in bytes."""
    # `getrusage` reports a maximum that includes the process before `exec`: the harness.
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")
