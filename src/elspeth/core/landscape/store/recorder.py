"""The recorder: writes a run as a pipeline goes through it, and reads it entity by entity."""

from elspeth.core.landscape.store.batches import BatchRecorder
from elspeth.core.landscape.store.runs import RunRecorder
from elspeth.core.landscape.store.states import StateRecorder
from elspeth.core.landscape.store.tokens import TokenRecorder


class LandscapeRecorder(RunRecorder, TokenRecorder, StateRecorder, BatchRecorder):
    """Writes and reads the audit trail; each method commits in a transaction of its own.

    Methods that take an enum accept its member or its text, and raise ValueError for any other
    text before anything is written. Ids that are not given are made, hashes and stored JSON are
    canonical, and a method that begins or registers something returns its model as built, with
    the clock's own datetime; one that completes something returns it as read back.
    """
