"""Measure the processor time of counting per query: querygrowth and other tools.

A tool runs in one process, in short rounds that alternate with a bare counter and with no listener,
2,000 small queries in all. The result is the fastest round, in microseconds of processor time per
query. Both Core, where some tools record less, and the ORM are measured. Tools that are not
installed are left out.

    python tests/bench/counting_cost.py             all tools
    python tests/bench/counting_cost.py TOOL PATH   one of them, as JSON
"""

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from time import process_time

from sqlalchemy import Engine, bindparam, create_engine, event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

ROUNDS = 40
QUERIES_PER_ROUND = 50
NOTHING, BARE = "nothing attached", "a bare counter"

Counting = Callable[[Engine], AbstractContextManager[object]]


class Base(DeclarativeBase):
    pass


class Number(Base):
    __tablename__ = "numbers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def main() -> None:
    """Measure all tools and print the table, or one tool and print its costs."""
    if sys.argv[1:]:
        json.dump(measure(*sys.argv[1:]), sys.stdout)
        return
    installed = [name for name, (module, _) in TOOLS.items() if find_spec(module)]
    for path in ("Core", "ORM"):
        sys.stdout.write(f"{path:28} {'us/query':>9} {'over bare':>10}\n")
        for name in installed:
            costs = measured_apart(name, path)
            shown = list(costs) if name == installed[0] else [name]
            for way in shown:
                over = costs[way] - costs[BARE]
                sys.stdout.write(f"{way:28} {costs[way]:9.1f} {over:+10.1f}\n")


def measured_apart(tool: str, path: str) -> Mapping[str, float]:
    """What `measure` gives in a process of the tool: some attach for good, to all engines."""
    # A program, and no worker of a pool: the frames of a pool would be a part of every stack.
    command = [sys.executable, __file__, tool, path]
    costs: Mapping[str, float] = json.loads(subprocess.check_output(command))
    return costs


def measure(tool: str, path: str) -> Mapping[str, float]:
    """Microseconds per query: with no listener, with a bare counter, and with the tool."""
    ways = {NOTHING: nothing, BARE: bare_counter, tool: TOOLS[tool][1]}
    query = {"Core": through_core, "ORM": through_the_orm}[path]
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/cost.db")
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            names = [{"id": number, "name": "some name"} for number in range(QUERIES_PER_ROUND)]
            connection.execute(insert(Number), names)
        rounds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, counting in ways.items():
                rounds[way].append(one_round(engine, counting, query))
        engine.dispose()
    # Other load on the machine only adds time, so the fastest round is the least disturbed.
    return {way: min(costs) for way, costs in rounds.items()}


def one_round(engine: Engine, counting: Counting, query: Callable[[Session], None]) -> float:
    with Session(engine) as session, counting(engine):
        # The connection and garbage of earlier rounds are not part of the cost of a query.
        session.connection()
        gc.collect()
        started = process_time()
        query(session)
        return (process_time() - started) / QUERIES_PER_ROUND * 1e6


def through_core(session: Session) -> None:
    connection = session.connection()
    query = text("SELECT id, name FROM numbers WHERE id = :id")
    for number in range(QUERIES_PER_ROUND):
        connection.execute(query, {"id": number}).all()


def through_the_orm(session: Session) -> None:
    query = select(Number).where(Number.id == bindparam("id"))
    for number in range(QUERIES_PER_ROUND):
        session.scalars(query, {"id": number}).all()


def nothing(_engine: Engine) -> AbstractContextManager[object]:
    return nullcontext()


@contextmanager
def bare_counter(engine: Engine) -> Iterator[None]:
    counted = 0

    def count(*_event: object) -> None:
        nonlocal counted
        counted += 1

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", count)


def querygrowth(engine: Engine) -> AbstractContextManager[object]:
    from querygrowth import count_queries

    return count_queries(engine)


def budget(engine: Engine) -> AbstractContextManager[object]:
    from querygrowth.counting.standby import count_test
    from querygrowth.places.call_sites import default_project

    return count_test([engine], default_project())


def without_call_sites(engine: Engine) -> AbstractContextManager[object]:
    from querygrowth import count_queries

    return count_queries(engine, call_sites=False)


def queryguard(_engine: Engine) -> AbstractContextManager[object]:
    from pytest_queryguard import record_queries

    return record_queries()


@contextmanager
def querycount(_engine: Engine) -> Iterator[None]:
    from pytest_querycount import Recorder, backends

    backends.install_all()
    recorder = Recorder()
    backends.push(recorder)
    try:
        yield
    finally:
        backends.pop(recorder)


def queryspy(_engine: Engine) -> AbstractContextManager[object]:
    from queryspy import record

    return record()


TOOLS: dict[str, tuple[str, Counting]] = {
    "querygrowth, no call sites": ("querygrowth", without_call_sites),
    "querygrowth, a budget": ("querygrowth", budget),
    "querygrowth": ("querygrowth", querygrowth),
    "pytest-queryguard": ("pytest_queryguard", queryguard),
    "pytest-querycount": ("pytest_querycount", querycount),
    "queryspy": ("queryspy", queryspy),
}


if __name__ == "__main__":
    main()
