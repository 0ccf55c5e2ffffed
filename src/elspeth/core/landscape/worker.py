"""A worker of a parallel export: writes the parts that it is assigned, from one snapshot."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.lines import Block, read_blocks
from elspeth.core.landscape.parts import Part
from elspeth.core.landscape.rendezvous import Rendezvous
from elspeth.core.landscape.signing import Signer
from elspeth.core.landscape.snapshot import ReadSnapshot

PIN = "pin"
"""What workers on SQLite wait for, before they take their snapshots."""
GO = "go"
"""What they wait for then, before they read."""
STOP = "stop"
"""What the parent reaches when it wants no more."""


def ready(number: int) -> str:
    """What a worker reaches when it could take its snapshot."""
    return f"ready-{number}"


def pinned(number: int) -> str:
    """What it reaches when it holds it."""
    return f"pinned-{number}"


@dataclass(frozen=True)
class Assignment:
    """All that a worker needs to know, in whichever process or on whichever machine it runs."""

    number: int
    run_id: str
    parts: Sequence[Part]
    folder: Path
    """Of the export, which worker and parent share."""
    database_url: str = field(repr=False)
    signing_key: bytes | None = field(repr=False)
    snapshot: str | None
    """PostgreSQL's, by its exported name."""


def work(assignment: Assignment) -> None:
    """Write every part assigned, in order.

    Raises what reading and writing raise, and AbandonedError when the parent has given up.
    """
    key = assignment.signing_key
    signer = None if key is None else Signer(key)
    Rendezvous(assignment.folder).check_not_reached(STOP)
    with (
        LandscapeDB(assignment.database_url, create_tables=False, read_only=True) as db,
        _shared_snapshot(db, assignment) as snapshot,
    ):
        for part in assignment.parts:
            blocks = read_blocks(snapshot, assignment.run_id, signer, part.partition)
            part.write(_until_stopped(blocks, Rendezvous(assignment.folder)))


def _until_stopped(blocks: Iterable[Block], meeting: Rendezvous) -> Iterator[Block]:
    for block in blocks:
        meeting.check_not_reached(STOP)
        yield block


@contextmanager
def _shared_snapshot(db: LandscapeDB, assignment: Assignment) -> Iterator[ReadSnapshot]:
    """Hold the state of the database that the other workers see."""
    if assignment.snapshot is not None:
        with db.read_snapshot(assignment.snapshot) as snapshot:
            yield snapshot
        return
    meeting = Rendezvous(assignment.folder)
    meeting.reach(ready(assignment.number))
    meeting.wait_for(PIN, unless=STOP)
    with db.read_snapshot() as snapshot:
        meeting.reach(pinned(assignment.number))
        meeting.wait_for(GO, unless=STOP)
        yield snapshot
