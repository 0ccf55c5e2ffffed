"""Everything that leads to an engine is counted; anything else is refused in one line."""

import asyncio
import functools
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from scenarios.shop import Base, Item, Order
from sqlalchemy import Engine, StaticPool, create_engine, event, insert, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from querygrowth.counting.engine import engines_of, populated_engines, sync_engine
from querygrowth.counting.log import count_queries
from querygrowth.growth.measure import measure_growth
from querygrowth.growth.verdicts import judge_growth


def memory(*, rows: int = 2) -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(
            insert(Item),
            [{"order_id": 1, "unindexed_order": 1, "product": f"p{n}"} for n in range(rows)],
        )
    return engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = memory()
    yield engine
    engine.dispose()


@pytest.fixture
def async_engine() -> AsyncEngine:
    return create_async_engine("sqlite+aiosqlite://")


def ask(engine: Engine, times: int = 1) -> None:
    for _ in range(times):
        with engine.connect() as connection:
            connection.execute(select(Item.product)).all()


# Every way is a function from an engine to what leads to it.
def yielding(engine: Engine) -> Callable[[], Iterator[Session]]:
    def get_db() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    return get_db


def yielding_with_cleanup(engine: Engine) -> Callable[[], Iterator[Session]]:
    def get_db() -> Iterator[Session]:
        session = Session(engine)
        try:
            yield session
            session.commit()
        except Exception:
            session.rollback()
            raise
        finally:
            session.close()

    return get_db


def context(engine: Engine) -> object:
    @contextmanager
    def session_scope() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    return session_scope


def async_yielding(engine: Engine) -> object:
    async def get_db() -> AsyncIterator[Session]:
        await asyncio.sleep(0)
        yield Session(engine)

    return get_db


def async_context(engine: Engine) -> object:
    @asynccontextmanager
    async def session_scope() -> AsyncIterator[Session]:
        yield Session(engine)

    return session_scope


def coroutine(engine: Engine) -> object:
    async def get_session() -> Session:
        return Session(engine)

    return get_session


class Repository:
    """An object of a project, which keeps its session."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Dependency:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_session(self) -> Iterator[Session]:
        with Session(self._engine) as session:
            yield session


class CallableDependency:
    """A dependency of FastAPI that is an object, and keeps its engine out of sight."""

    def __init__(self, engine: Engine) -> None:
        self._made = [engine]

    def __call__(self) -> Iterator[Session]:
        with Session(self._made[0]) as session:
            yield session


WAYS: dict[str, Callable[[Engine], object]] = {
    "an engine": lambda engine: engine,
    "a connection": lambda engine: engine.connect(),
    "a connection with options": lambda engine: engine.connect().execution_options(tag=1),
    "a session": Session,
    "a session on a connection": lambda engine: Session(engine.connect()),
    "a session with binds": lambda engine: Session(binds={Item: engine, Order: engine}),
    "a sessionmaker": sessionmaker,
    "a sessionmaker with binds": lambda engine: sessionmaker(binds={Base: engine}),
    "a scoped session": lambda engine: scoped_session(sessionmaker(engine)),
    "a function that yields": yielding,
    "a function that yields and commits": yielding_with_cleanup,
    "a context manager": context,
    "an async function that yields": async_yielding,
    "an async context manager": async_context,
    "an async function": coroutine,
    "a method that yields": lambda engine: Dependency(engine).get_session,
    "an object that is called": lambda engine: CallableDependency(engine),
    "what begins a transaction": lambda engine: sessionmaker(engine).begin,
    "a partial function": lambda engine: functools.partial(lambda given: given, engine),
    "a cached function": lambda engine: functools.lru_cache(lambda: engine),
    "a function of a sessionmaker": lambda engine: lambda: sessionmaker(engine),
    "an object with an attribute of another name": Dependency,
    "an object with a session factory": lambda engine: Repository(
        session_factory=sessionmaker(engine)
    ),
    "an object with an engine": lambda engine: Repository(engine=engine),
    "an object with a bind": lambda engine: Repository(engine="steam", bind=engine),
    "an object with a session": lambda engine: Repository(session=Session(engine)),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_leads_to_an_engine_is_counted(engine: Engine, way: str) -> None:
    source = WAYS[way](engine)
    with count_queries(source) as log:
        ask(engine, times=2)
    assert (log.total, log.by_table, log.of(engine).total) == (2, {"items": 2}, 2)
    assert log.engines == (engine,)
    for opened in (source, getattr(source, "session", None), getattr(source, "bind", None)):
        if hasattr(opened, "close"):
            opened.close()


ASYNC_WAYS: dict[str, Callable[[AsyncEngine], object]] = {
    "an engine": lambda engine: engine,
    "an engine with options": lambda engine: engine.execution_options(tag=1),
    "a connection": lambda engine: engine.connect(),
    "a session": AsyncSession,
    "a session with binds": lambda engine: AsyncSession(binds={Item: engine}),
    "a sessionmaker": async_sessionmaker,
    "a scoped session": lambda engine: async_scoped_session(
        async_sessionmaker(engine), scopefunc=asyncio.current_task
    ),
    "the session inside": lambda engine: AsyncSession(engine).sync_session,
}


@pytest.mark.parametrize("way", ASYNC_WAYS)
def test_what_leads_to_an_async_engine_is_counted(async_engine: AsyncEngine, way: str) -> None:
    async def counted() -> int:
        source = ASYNC_WAYS[way](async_engine)
        with count_queries(source) as log:
            options = {"tag": 1}
            async with async_engine.execution_options(**options).connect() as connection:
                await connection.execute(text("SELECT 1"))
            # An engine with options counts what it sends itself.
            counts = log.total if way != "an engine with options" else log.total + 1
        await async_engine.dispose()
        return counts

    assert asyncio.run(counted()) == 1


def test_a_scoped_session_is_not_made_by_counting(engine: Engine) -> None:
    """The application configures its own session later, which must still be possible."""
    scoped = scoped_session(sessionmaker(engine))
    with count_queries(scoped):
        assert not scoped.registry.has()
        scoped(expire_on_commit=False)
    with count_queries(scoped) as log:
        scoped.execute(select(Item.id)).all()
    scoped.remove()
    assert log.total == 1


def test_a_function_is_left_as_after_a_request(engine: Engine) -> None:
    """The generator is closed, so that the session that it made does not stay open."""
    events: list[str] = []

    def get_db() -> Iterator[Session]:
        session = Session(engine)
        try:
            yield session
            events.append("went on")
        finally:
            session.close()
            events.append("closed")

    with count_queries(get_db) as log:
        pass
    assert (events, log.total, log.transactions_begun) == (["closed"], 0, 0)


def test_an_async_function_is_called_inside_a_running_loop(engine: Engine) -> None:
    async def test() -> int:
        with count_queries(async_yielding(engine)) as log:
            ask(engine)
        return log.total

    assert asyncio.run(test()) == 1


def test_an_engine_with_options_counts_what_it_sends_and_the_original_counts_both(
    engine: Engine,
) -> None:
    tenant = engine.execution_options(schema_translate_map={None: None})
    with count_queries(engine) as all_of_them, count_queries(tenant) as of_tenant:
        ask(engine)
        ask(tenant, times=2)
        ask(tenant.execution_options(tag=1), times=4)
    assert (all_of_them.total, of_tenant.total) == (7, 6)


def test_options_may_be_added_to_options(engine: Engine) -> None:
    """SQLAlchemy 2.0 takes no listeners of such an engine; the one below it is counted then."""
    nested = engine.execution_options(tag=1).execution_options(tag=2)
    with count_queries(nested) as log:
        ask(nested, times=2)
    assert (log.total, log.of(nested).total) == (2, 2)


class TestSeveralEngines:
    @pytest.fixture
    def replica(self) -> Iterator[Engine]:
        replica = memory()
        yield replica
        replica.dispose()

    def test_the_counts_of_each_are_known(self, engine: Engine, replica: Engine) -> None:
        with count_queries(engine, sessionmaker(replica)) as log:
            ask(engine)
            ask(replica, times=2)
            ask(engine)
        assert (log.total, log.of(engine).total, log.of(replica).total) == (4, 2, 2)
        assert log.by_engine == {"sqlite://": 2, "sqlite:// (2)": 2}
        assert (log.by_table, log.tables) == ({"items": 4}, {"items"})
        assert log.by_shape == {"SELECT items.product FROM items": 4}
        assert sum(log.by_call_site.values()) == 4
        assert (log.rows_fetched, log.checkouts, log.transactions_begun) == (8, 4, 4)
        assert (log.commits, log.rollbacks, log.session_statements) == (0, 4, 0)

    def test_statements_are_in_order_of_sending(self, engine: Engine, replica: Engine) -> None:
        with count_queries(replica, engine) as log:
            for each in (engine, replica, engine):
                ask(each)
        # Every engine numbers its own transactions and checkouts; together they are numbered again.
        assert [(q.number, q.transaction, q.checkout) for q in log.statements] == [
            (1, 1, 1), (2, 2, 2), (3, 3, 3),
        ]  # fmt: skip

    def test_an_engine_that_is_given_twice_counts_once(self, engine: Engine) -> None:
        with count_queries(engine, Session(engine), lambda: engine) as log:
            ask(engine)
        assert (log.total, log.by_engine) == (1, {"sqlite://": 1})

    def test_a_password_is_in_no_name(self) -> None:
        pytest.importorskip("psycopg")
        engine = create_engine("postgresql+psycopg://me:secret@localhost/shop")
        with count_queries(engine, memory()) as log:
            pass
        assert [*log.by_engine] == ["postgresql+psycopg://me:***@localhost/shop", "sqlite://"]

    def test_an_engine_that_is_not_counted_has_no_counts(
        self, engine: Engine, replica: Engine
    ) -> None:
        with count_queries(engine) as one, count_queries(engine, memory()) as two:
            pass
        for log in (one, two):
            with pytest.raises(ValueError, match="is not among the counted engines"):
                log.of(replica)

    def test_binds_of_a_session_are_counted(self, engine: Engine, replica: Engine) -> None:
        session = Session(engine, binds={Item: replica})
        with count_queries(session) as log:
            session.execute(select(Item.id)).all()
            session.execute(select(Order.id)).all()
        session.close()
        assert (log.of(engine).by_table, log.of(replica).by_table) == (
            {"orders": 1}, {"items": 1},
        )  # fmt: skip

    def test_a_session_that_routes_may_use_any_engine(
        self, engine: Engine, replica: Engine
    ) -> None:
        class Routing(Session):
            def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Engine:
                return engine if self._flushing or clause is None else replica

        maker = sessionmaker(class_=Routing)
        with count_queries(maker) as log, maker() as session:
            session.execute(select(Item.id)).all()
            session.add(Order(customer_id=1))
            session.flush()
        assert log.of(replica).by_table == {"items": 1}
        assert log.of(engine).by_table == {"orders": 1}
        with pytest.raises(ValueError, match="return a list with its engines first"):
            populated_engines(maker)
        assert populated_engines([replica, engine, maker]) == (replica, engine)
        assert populated_engines((engine, maker, "a name", engine)) == (engine,)

    def test_one_engine_is_needed_where_one_is_asked(self, engine: Engine, replica: Engine) -> None:
        with pytest.raises(ValueError, match="one engine is needed here, and the Session uses"):
            sync_engine(Session(engine, binds={Item: replica}))


class TestEveryEngine:
    def test_engines_that_exist_and_later_ones_are_counted(self, engine: Engine) -> None:
        before = engine.connect()
        with count_queries() as log:
            before.execute(select(Item.id)).all()
            later = memory()
            ask(later, times=2)
            ask(later.execution_options(tag=1))
        before.close()
        assert (log.of(engine).total, log.of(later).total) == (1, 4)  # one of them fills it
        assert log.by_table == {"items": 5}
        assert log.engines == (engine, later)

    def test_other_threads_are_counted(self) -> None:
        def act() -> None:
            own = memory()
            ask(own, times=3)
            own.dispose()

        with count_queries() as log:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()
        assert log.by_table == {"items": 4}

    def test_async_engines_are_counted(self, async_engine: AsyncEngine) -> None:
        async def run() -> None:
            async with async_engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
            await async_engine.dispose()

        with count_queries() as log:
            asyncio.run(run())
        assert (log.total, log.transactions_begun, log.commits) == (1, 1, 1)

    def test_the_place_of_a_statement_is_known(self, engine: Engine) -> None:
        with count_queries() as log:
            ask(engine)
        assert [each.rpartition("/")[2].partition(":")[0] for each in log.by_call_site] == [
            "test_engine_sources.py"
        ]

    def test_no_listener_stays_attached(self, engine: Engine) -> None:
        with count_queries() as log:
            pass
        ask(engine)
        assert log.total == 0
        assert not [*Engine.dispatch.before_cursor_execute._clslevel[Engine]]  # type: ignore[attr-defined]


def generator() -> Iterator[int]:
    yield 1


class Raising:
    @property
    def engine(self) -> object:
        raise KeyError("no request")


REFUSED: dict[str, tuple[object, str]] = {
    "a URL": ("sqlite://", "got str: pass what create_engine() returned"),
    "nothing": (None, "got NoneType"),
    "a number": (5, "got int"),
    "a class": (Session, "got the class Session: pass an object of it"),
    "a generator": (generator(), "got generator: pass the function without calling it"),
    "a session without engine": (Session(), "the Session has no engine: it was made without bind"),
    "a sessionmaker without engine": (sessionmaker(), "the Session has no engine"),
    "a function with arguments": (ask, "cannot call ask() to find its engine: missing a required"),
    "a function of nothing": (lambda: None, "got NoneType"),
    "a generator of numbers": (generator, "got int"),
    "an object that raises": (Raising(), "got Raising"),
    "a mock": (MagicMock(), "got MagicMock"),
    "a mock of the class": (create_autospec(Engine), "got MagicMock"),
    "a mock of an engine": (create_autospec(Engine, instance=True), "got NonCallableMagicMock"),
    "a mock of a session": (create_autospec(Session, instance=True), "got NonCallableMagicMock"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_no_engine_gets_one_line(refused: str) -> None:
    source, words = REFUSED[refused]
    with pytest.raises(ValueError, match=re.escape(words)) as error, count_queries(source):
        pass
    assert "\n" not in str(error.value)


def test_an_error_of_the_users_function_is_told_in_one_line() -> None:
    def get_db() -> Iterator[Session]:
        raise RuntimeError("no application\nwith a second line")
        yield Session()

    with pytest.raises(
        ValueError, match=r"^cannot find the engine of get_db: RuntimeError: no app"
    ):
        engines_of(get_db)


def test_a_function_is_not_called_where_it_must_not_be(engine: Engine) -> None:
    called: list[int] = []

    def start() -> Engine:
        called.append(1)
        return engine

    with pytest.raises(ValueError, match="got the function start"):
        engines_of(start, call=False)
    assert called == []


def test_counting_leaves_the_users_listeners(engine: Engine) -> None:
    heard: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *each: heard.append(each[2]))
    with count_queries(engine), count_queries():
        ask(engine)
    ask(engine)
    assert len(heard) == 2


class TestFlask:
    @pytest.fixture
    def database(self) -> Iterator[Any]:
        flask = pytest.importorskip("flask")
        sqlalchemy = pytest.importorskip("flask_sqlalchemy")
        app = flask.Flask("shop")
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        app.config["SQLALCHEMY_BINDS"] = {"other": "sqlite://"}
        database = sqlalchemy.SQLAlchemy(app)
        yield app, database
        with app.app_context():
            for each in database.engines.values():
                each.dispose()

    @pytest.mark.parametrize(
        "way",
        [lambda db: db, lambda db: db.session, lambda db: db.session(), lambda db: lambda: db],
    )
    def test_all_engines_of_the_database_are_counted(self, database: Any, way: Any) -> None:
        app, db = database
        with app.app_context():
            with count_queries(way(db)) as log:
                db.session.execute(text("SELECT 1"))
                with db.engines["other"].connect() as connection:
                    connection.execute(text("SELECT 1"))
            db.session.remove()
            assert (log.total, log.of(db.engine).total) == (2, 1)

    def test_a_missing_application_context_is_told_in_one_line(self, database: Any) -> None:
        _, db = database
        for source in (db, db.session):
            with pytest.raises(ValueError, match="Working outside of application") as error:
                engines_of(source)
            assert "\n" not in str(error.value)


def test_a_session_of_sqlmodel_is_counted(engine: Engine) -> None:
    sqlmodel = pytest.importorskip("sqlmodel")
    with sqlmodel.Session(engine) as session, count_queries(session) as log:
        session.exec(select(Item.id)).all()
    assert log.total == 1


class TestGrowth:
    """`populate` may return what leads to its engine, and the action gets just that."""

    def growing(self, way: Callable[[Engine], Any], action: Callable[[Any], object]) -> str:
        def populate(items: int) -> object:
            return way(memory(rows=items))

        report = measure_growth(action, populate, axes=["items"], scales=(2, 4, 8))
        failed = [each.seen for each in judge_growth(report) if each.failed]
        return "; ".join(failed)

    def test_a_session_is_measured(self) -> None:
        def loop(session: Session) -> list[object]:
            with session:
                ids = session.scalars(select(Item.id)).all()
                return [session.scalar(select(Item.product).where(Item.id == n)) for n in ids]

        assert "queries grew with items" in self.growing(Session, loop)

    def test_a_sessionmaker_is_measured(self) -> None:
        def one_query(maker: sessionmaker[Session]) -> list[object]:
            with maker() as session:
                return [*session.scalars(select(Item.product))]

        assert self.growing(sessionmaker, one_query) == ""

    def test_anything_else_is_refused_in_one_line(self) -> None:
        with pytest.raises(
            ValueError, match=r"populate must return an SQLAlchemy engine .* got int:"
        ):
            self.growing(lambda _engine: 5, lambda _five: None)
