"""The reasons of the ORM are those that SQLAlchemy's public ORMExecuteState tells."""

import gc
import json
import re
import weakref
from collections.abc import Callable

import pytest
import sqlalchemy
from scenarios.library import Author, Book, Person, Reader, Shelf, library
from sqlalchemy import event, func, select, text, update
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    aliased,
    immediateload,
    joinedload,
    load_only,
    selectin_polymorphic,
    selectinload,
    subqueryload,
)

from querygrowth.counting.log import count_queries
from querygrowth.places.orm_loads import Load, Reason, load_of, raw_load


def lazy(session: Session) -> None:
    for book in session.scalars(select(Book)):
        assert None not in (book.author, book.tags, book.chapters)


def lazy_below_options(session: Session) -> None:
    for author in session.scalars(select(Author).options(selectinload(Author.books))):
        assert [book.chapters for book in author.books]


def lazy_below_a_join(session: Session) -> None:
    for author in session.scalars(select(Author).options(joinedload(Author.books))).unique():
        assert [book.tags for book in author.books]


def eager(session: Session) -> None:
    options = (selectinload(Author.books).subqueryload(Book.tags), subqueryload(Author.profile))
    assert session.scalars(select(Author).options(*options)).all()


def immediate(session: Session) -> None:
    assert session.scalars(select(Author).options(immediateload(Author.books))).all()


def recursive(session: Session) -> None:
    shelf = session.get(Shelf, 0)
    assert shelf
    assert shelf.children[0].children == []


def deferred(session: Session) -> None:
    found = session.scalars(select(Author).options(load_only(Author.id))).all()
    assert [author.name + author.biography + author.letters for author in found]


def subclass_columns(session: Session) -> None:
    assert [person.card for person in session.scalars(select(Person)).all()]


def polymorphic(session: Session) -> None:
    people = select(Person).options(selectin_polymorphic(Person, [Reader]))
    assert [person.favourite.name for person in session.scalars(people)]


def expired(session: Session) -> None:
    authors = session.scalars(select(Author)).all()
    session.commit()
    assert [author.name for author in authors]
    session.expire(authors[0], ["name"])
    assert authors[0].name


def refreshed(session: Session) -> None:
    for author in session.scalars(select(Author)).all():
        session.refresh(author)
        session.refresh(author, ["name"])
        session.refresh(author, ["books"])


def flushed(session: Session) -> None:
    author = session.scalars(select(Author)).first()
    assert author
    author.name = "changed"
    session.flush()
    assert author.changed


def queries(session: Session) -> None:
    session.execute(select(Author.id)).all()
    session.execute(select(func.count()).select_from(Author)).all()
    session.execute(select(aliased(Author))).all()
    session.scalars(select(Author).from_statement(text("SELECT * FROM authors"))).all()
    session.query(Author).filter_by(id=0).all()
    session.execute(text("SELECT 1")).all()
    session.get(Author, 1)
    session.merge(Author(id=0, name="merged"))


ACTIONS = [
    lazy, lazy_below_options, lazy_below_a_join, eager, immediate, recursive, deferred,
    subclass_columns, polymorphic, expired, refreshed, flushed, queries,
]  # fmt: skip


# The state of older releases does not tell that a `from_statement`, such as that for the columns of
# a subclass, loads columns. `test_loads_of_columns_are_told_apart` covers them in all releases.
TELLS_ALL = [int(part) for part in re.findall(r"\d+", sqlalchemy.__version__)[:3]] >= [2, 0, 30]


@pytest.mark.parametrize(
    "action",
    [action for action in ACTIONS if TELLS_ALL or action is not subclass_columns],
    ids=lambda action: action.__name__,
)
def test_reasons_are_those_of_the_public_state(action: Callable[[Session], None]) -> None:
    told: list[ORMExecuteState] = []
    sent: list[Load | None] = []

    def before_cursor_execute(*arguments: object) -> None:
        if str(arguments[2]).lstrip().upper().startswith("SELECT"):
            sent.append(load_of(raw_load(arguments[4])))

    with library(size=2) as engine, Session(engine) as session:
        event.listen(engine, "before_cursor_execute", before_cursor_execute)
        event.listen(session, "do_orm_execute", told.append)
        action(session)
    # An eager load is sent by the execution that it belongs to, and its event comes first or last.
    assert len(told) == len(sent)
    assert sorted(map(public, told)) == sorted(map(ours, sent))


def public(state: ORMExecuteState) -> tuple[str, str]:
    if state.is_column_load:
        assert state.bind_mapper is not None
        return "columns", state.bind_mapper.class_.__name__
    if state.is_relationship_load:
        assert state.loader_strategy_path is not None
        (*_, relationship) = (
            step for step in state.loader_strategy_path.path if hasattr(step, "uselist")
        )
        kind = "lazy" if state.lazy_loaded_from else "eager"
        return kind, f"{relationship.parent.class_.__name__}.{relationship.key}"
    return "query", ""


def ours(load: Load | None) -> tuple[str, str]:
    if load is None or load.reason == Reason.QUERY:
        return "query", ""
    if load.relationship and load.reason != Reason.REFRESHED:
        return load.reason, load.relationship
    return "columns", load.owner


@pytest.mark.parametrize(
    ("action", "reasons"),
    [
        (deferred, {Reason.DEFERRED}),
        (subclass_columns, {Reason.SUBCLASS}),
        (expired, {Reason.EXPIRED, Reason.PARTLY_EXPIRED}),
        (flushed, {Reason.PARTLY_EXPIRED}),
        (refreshed, {Reason.REFRESHED}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_loads_of_columns_are_told_apart(
    action: Callable[[Session], None], reasons: set[Reason]
) -> None:
    with library(size=2) as engine, count_queries(engine) as log, Session(engine) as session:
        action(session)
    found = {query.load.reason for query in log.queries if query.load and query.load.needs}
    assert reasons <= found <= reasons | {Reason.LAZY, Reason.EAGER}


def test_a_write_is_told_from_a_flush() -> None:
    table = Author.__table__
    with library(size=1) as engine, count_queries(engine) as log, Session(engine) as session:
        session.add(Author(name="new"))
        session.flush()
        session.execute(update(Author).values(edits=1))
        session.connection().execute(update(Author).values(edits=2))
        session.execute(table.update().values(edits=3))
    reasons = [query.load and query.load.reason for query in log.queries]
    assert reasons == [Reason.FLUSH, Reason.WRITE, Reason.QUERY, None]


def test_the_facts_keep_no_object_of_the_user_alive() -> None:
    gc.freeze()  # a search of all objects of this process takes 0.2 seconds
    with library(size=3) as engine, count_queries(engine) as log, Session(engine) as session:
        books = session.scalars(select(Book)).all()
        assert [book.author.name for book in books]
        session.commit()
        assert [book.title for book in books]
        kept = [weakref.ref(book) for book in books]
        session.close()
        del books
        gc.collect()
        gc.unfreeze()
        assert [each() for each in kept if each() is not None] == []
        assert len(log.queries) > 3


def test_every_load_passes_between_processes() -> None:
    with library(size=2) as engine, count_queries(engine) as log, Session(engine) as session:
        for action in (lazy_below_a_join, deferred, expired, queries, eager):
            action(session)
    loads = {query.load for query in log.queries if query.load}
    assert len(loads) > 5
    assert {Load.from_json(json.loads(json.dumps(load))) for load in loads} == loads


def test_a_context_without_the_expected_names_has_no_reason() -> None:
    assert raw_load(None) is None
    assert raw_load(object()) is None
