"""Let `query_growth` grow the rows that a test's fixtures have made: `copied_rows`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Engine, create_engine

from querygrowth.listener import attached
from querygrowth.suite.grow.grower import Grower
from querygrowth.suite.grow.row_sets import EVERYTHING
from querygrowth.suite.grow.row_sets import below as _below

Populate = Callable[[int], AbstractContextManager[Engine]]


def copied_rows(*, below: str | None = None) -> Populate:
    """Make a `populate` for `query_growth` that copies the rows that a test has made.

    The rows are copied at the first SELECT of the action, on the connection that reads, as
    `pytest --queries=grow` does. So the database of the test's fixtures grows, and nothing has to
    lead to it. Give `axes={"copies": 1}`, and scales in rising order: at scale 4 each row is there
    four times. At the end of an action, copies that were committed are deleted. Those in a
    transaction of the fixtures stay until it is rolled back.

    Args:
        below: A table whose rows stay, while what refers to them is copied; so each of its rows has
            more children. Default: every row is copied.

    Returns:
        The function to pass to `query_growth`.

    Raises:
        ValueError: `below` is not the name of a table.
    """
    given: object = below
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise ValueError(f"copied_rows: below must be the name of a table, got {below!r}")
    grower = Grower()
    grower.begin(EVERYTHING if below is None else _below(below), 0)
    grower.end()

    @contextmanager
    def populate(copies: int) -> Iterator[Engine]:
        # The engine that the action uses is known once it has used it.
        unknown = create_engine("sqlite://")
        with attached(Engine, grower.listeners()):
            grower.grow_to(copies - 1)
            try:
                yield grower.engine or unknown
            finally:
                grower.end_body()
                unknown.dispose()
        if grower.grown.stopped:
            raise ValueError(f"rows could not be copied: {grower.grown.stopped}")
        if copies > 1 and not grower.names:
            raise ValueError("there are no rows to copy when the action reads")
        if below is not None and _below(below) not in grower.names:
            known = [name for name in grower.names if name != EVERYTHING]
            shown = f"; there are {', '.join(known)}" if known else ""
            raise ValueError(f"no table has rows below those of {below}{shown}")

    return populate
