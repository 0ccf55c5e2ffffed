"""Count one test after another, with listeners that stay attached in between and are paused.

To attach and to detach the listeners takes about 50 us, more than a small test needs. So the pytest
plugin attaches them to an engine once, and `detach_all` removes them when pytest ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Engine, Pool, event

from querygrowth.call_sites import Project
from querygrowth.engine import sync_engines
from querygrowth.every_engine import EveryEngine
from querygrowth.listener import Recording, attached
from querygrowth.log import QueryLog, count_queries, log_of, log_of_every_engine
from querygrowth.stack import StackWalker

# By the engine, and by whether rows are counted. Neither the recordings nor the listeners refer to
# the engine, so an engine that only this dictionary knows is freed.
_RECORDINGS: WeakKeyDictionary[Engine, dict[bool, tuple[Recording, ref[Pool]]]] = (
    WeakKeyDictionary()
)
_EVERY: dict[bool, EveryEngine] = {}


@contextmanager
def count_test(sources: Sequence[object], project: Project, *, rows: bool) -> Iterator[QueryLog]:
    """Count what a test sends inside the block. Its log is valid until the next test is counted.

    Args:
        sources: The engines, or what leads to them; without any, all engines of the process.
        project: Decides which files are the user's own.
        rows: Whether to count the rows that are fetched.

    Raises:
        ValueError: A source leads to no engine.
    """
    engines = sync_engines(sources) if sources else None
    every = _every_engine(rows) if engines is None else None
    recordings = [_recording_of(engine, rows) for engine in engines or ()]
    counters: list[Recording | EveryEngine] = [every] if every else [*recordings]
    # A test that runs pytest in its own process may count in its turn.
    if not all(counter.paused for counter in counters):
        with count_queries(*(engines or ()), project=project) as log:
            yield log
        return
    walker = StackWalker(project)
    try:
        for counter in counters:
            counter.begin(walker)
        yield (
            log_of_every_engine(every)
            if every
            else log_of(
                [
                    QueryLog(recording, engine.dialect.name, engine)
                    for engine, recording in zip(engines or (), recordings, strict=True)
                ]
            )
        )
    finally:
        for counter in counters:
            counter.pause()


def detach_all() -> None:
    """Detach the listeners from all engines, unless a test is being counted."""
    for engine, recordings in list(_RECORDINGS.items()):
        for rows, (recording, _) in list(recordings.items()):
            if recording.paused:
                del recordings[rows]
                _detach(engine, recording)
    for rows, every in list(_EVERY.items()):
        if every.paused:
            _detach(Engine, _EVERY.pop(rows))


def _recording_of(engine: Engine, rows: bool) -> Recording:
    """The recording that is attached to the engine."""
    known = _RECORDINGS.setdefault(engine, {})
    if rows in known:
        recording, pool = known[rows]
        # Engine.dispose() gives an engine another pool.
        if not recording.paused or pool() is engine.pool:
            return recording
        _detach(engine, recording)
    recording = Recording(walker=None, keep_parameters=False, count_rows=rows)
    recording.pause()
    attached(engine, recording.listeners())
    known[rows] = (recording, ref(engine.pool))
    return recording


def _every_engine(rows: bool) -> EveryEngine:
    every = _EVERY.get(rows)
    if every is None:
        every = _EVERY[rows] = EveryEngine(count_rows=rows)
        every.pause()
        attached(Engine, every.listeners())
    return every


def _detach(target: Engine | type[Engine], counter: Recording | EveryEngine) -> None:
    for name, listener in counter.listeners().items():
        if event.contains(target, name, listener):
            event.remove(target, name, listener)
