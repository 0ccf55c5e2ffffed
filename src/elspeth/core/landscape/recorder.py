"""LandscapeRecorder: record a run while a pipeline executes it, and read what was recorded."""

from elspeth.core.landscape.store.runs import RunRecorder
from elspeth.core.landscape.store.tokens import TokenRecorder


class LandscapeRecorder(RunRecorder, TokenRecorder):
    """Writes and reads the audit trail; every method commits its own transaction.

    A method that takes an enum accepts the member or its text, and raises ValueError for other text
    before it writes. It makes the ids that it is not given. Hashes and stored JSON are canonical.
    A method that begins or registers something returns the model as built, with the clock's
    datetime; one that completes something returns the model as read back.
    """
