"""Count one test after another, with listeners that stay attached in between and are paused.

To attach and to detach the listeners takes about 50 us, more than a small test needs. So the pytest
plugin attaches them to an engine once, and `detach_all` removes them when pytest ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Engine, Pool, event

from querygrowth.counting.engine import sync_engines
from querygrowth.counting.every_engine import EveryEngine
from querygrowth.counting.listener import Recording, attached
from querygrowth.counting.log import count_queries, log_of, log_of_every_engine
from querygrowth.counting.query_log import QueryLog
from querygrowth.places.call_sites import Project
from querygrowth.places.stack import StackWalker

# Neither the recordings nor the listeners refer to the engine, so an engine that only this
# dictionary knows is freed.
_RECORDINGS: WeakKeyDictionary[Engine, tuple[Recording, ref[Pool]]] = WeakKeyDictionary()
_EVERY: list[EveryEngine] = []  # at most one


@contextmanager
def count_test(sources: Sequence[object], project: Project) -> Iterator[QueryLog]:
    """Count what a test sends inside the block. Its log is valid until the next test is counted.

    Fetched rows are not counted.

    Args:
        sources: The engines, or what leads to them; without any, all engines of the process.
        project: Decides which files are the user's own.

    Raises:
        ValueError: A source leads to no engine.
    """
    engines = sync_engines(sources) if sources else None
    every = _every_engine() if engines is None else None
    recordings = [_recording_of(engine) for engine in engines or ()]
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
    for engine, (recording, _) in list(_RECORDINGS.items()):
        if recording.paused:
            del _RECORDINGS[engine]
            _detach(engine, recording)
    for every in list(_EVERY):
        if every.paused:
            _EVERY.remove(every)
            _detach(Engine, every)


def _recording_of(engine: Engine) -> Recording:
    """The recording that is attached to the engine."""
    known = _RECORDINGS.get(engine)
    if known is not None:
        recording, pool = known
        # Engine.dispose() gives an engine another pool.
        if not recording.paused or pool() is engine.pool:
            return recording
        _detach(engine, recording)
    recording = Recording(walker=None, keep_parameters=False, count_rows=False)
    recording.pause()
    attached(engine, recording.listeners())
    _RECORDINGS[engine] = (recording, ref(engine.pool))
    return recording


def _every_engine() -> EveryEngine:
    if not _EVERY:
        every = EveryEngine(count_rows=False)
        every.pause()
        attached(Engine, every.listeners())
        _EVERY.append(every)
    return _EVERY[0]


def _detach(target: Engine | type[Engine], counter: Recording | EveryEngine) -> None:
    for name, listener in counter.listeners().items():
        if event.contains(target, name, listener):
            event.remove(target, name, listener)
