"""Columns that are loaded one object at a time: the failure names them, and their own repair."""

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import (
    Session,
    defer,
    joinedload,
    load_only,
    selectin_polymorphic,
    subqueryload,
    undefer,
    undefer_group,
)

from scenarios.company import Department, Engineer, company
from scenarios.library import Author, Book, Person, Reader, grows, library
from scenarios.pair import Pair


def deferred_biographies(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        return [author.biography for author in authors]  # deferred


def undeferred_biographies(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(undefer(Author.biography)))
        return [author.biography for author in authors]


def group_of_deferred_columns(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [author.letters + author.diary for author in session.scalars(select(Author)).all()]


def undeferred_group(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(undefer_group("papers")))
        return [author.letters + author.diary for author in authors]


def column_left_out(engine: Engine) -> list[str]:
    with Session(engine) as session:
        found = session.scalars(select(Author).options(load_only(Author.id))).all()
        return [author.name for author in found]  # left out


def column_deferred_by_an_option(engine: Engine) -> list[str]:
    with Session(engine) as session:
        found = session.scalars(select(Author).options(defer(Author.name))).all()
        return [author.name for author in found]  # by an option


def columns_of_a_subclass(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [person.card for person in session.scalars(select(Person)).all()]  # of the subclass


def polymorphic_columns(engine: Engine) -> list[str]:
    people = select(Person).options(selectin_polymorphic(Person, [Reader]))
    with Session(engine) as session:
        return [person.card for person in session.scalars(people)]


def deferred_behind_a_join(engine: Engine) -> list[str]:
    with Session(engine) as session:
        books = session.scalars(select(Book).options(joinedload(Book.author))).all()
        return [book.author.biography for book in books]  # behind a join


def undeferred_behind_a_join(engine: Engine) -> list[str]:
    with Session(engine) as session:
        author = joinedload(Book.author).undefer(Author.biography)
        return [book.author.biography for book in session.scalars(select(Book).options(author))]


def subclass_behind_a_relationship(engine: Engine) -> list[str]:
    with Session(engine) as session:
        departments = session.scalars(select(Department).options(subqueryload(Department.people)))
        people = [person for department in departments for person in department.people]
        return [person.language for person in people if isinstance(person, Engineer)]  # behind


def polymorphic_behind_a_relationship(engine: Engine) -> list[str]:
    with Session(engine) as session:
        option = subqueryload(Department.people).selectin_polymorphic([Engineer])
        departments = session.scalars(select(Department).options(option))
        people = [person for department in departments for person in department.people]
        return [person.language for person in people if isinstance(person, Engineer)]


def expired_by_commit(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        session.commit()
        return [author.name for author in authors]  # expired


def kept_after_commit(engine: Engine) -> list[str]:
    with Session(engine, expire_on_commit=False) as session:
        authors = session.scalars(select(Author)).all()
        session.commit()
        return [author.name for author in authors]


def expired_by_rollback(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        session.rollback()
        return [author.name for author in authors]  # rolled back


def expired_by_hand(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        session.expire_all()
        return [author.name for author in authors]  # by hand


def loaded_again_at_once(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        session.expire_all()
        again = select(Author).execution_options(populate_existing=True)
        session.scalars(again).all()
        return [author.name for author in authors]


def refreshed_one_by_one(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            session.refresh(author)  # refreshes
        return [author.name for author in authors]


def one_attribute_refreshed(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            session.refresh(author, ["name"])  # one attribute
        return [author.name for author in authors]


def generated_by_the_database(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            author.name = "changed"
        session.flush()
        return [author.changed for author in authors]  # generated


def computed_in_the_update(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            author.edits = Author.edits + func.abs(-1)
        session.flush()  # writes them
        return [author.edits for author in authors]


def commit_after_each(engine: Engine) -> int:
    """Every commit expires all authors, so that every step loads its author again."""
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            author.name += "!"  # loads again
            session.commit()
        return len(authors)


def one_commit(engine: Engine) -> int:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        for author in authors:
            author.name += "!"
        session.commit()
        return len(authors)


PAIRS = (
    grows(
        "deferred columns",
        deferred_biographies,
        undeferred_biographies,
        "# deferred",
        "attributes: Author.biography",
        ".options(undefer(Author.biography)) to the query at ",
    ),
    grows(
        "a group of deferred columns",
        group_of_deferred_columns,
        undeferred_group,
        "author.letters + author.diary",
        "attributes: Author.letters, Author.diary",
        ".options(undefer(Author.letters), undefer(Author.diary))",
    ),
    grows(
        "a column that load_only leaves out",
        column_left_out,
        None,
        "# left out",
        ".options(undefer(Author.name))",
    ),
    grows(
        "a column that an option defers",
        column_deferred_by_an_option,
        None,
        "# by an option",
        ".options(undefer(Author.name))",
    ),
    grows(
        "columns of a subclass",
        columns_of_a_subclass,
        polymorphic_columns,
        "# of the subclass",
        "Reader.card",
        ".options(selectin_polymorphic(Person, [Reader])) to the query at ",
    ),
    grows(
        "objects that a commit expired",
        expired_by_commit,
        kept_after_commit,
        "# expired",
        "attributes: all of Author",
        "Session(expire_on_commit=False)",
    ),
    grows(
        "a deferred column behind a join",
        deferred_behind_a_join,
        undeferred_behind_a_join,
        "# behind a join",
        "add .options(defaultload(Book.author).undefer(Author.biography)) to the query",
    ),
    Pair(
        "columns of a subclass that SQLAlchemy loads in parts",
        None,
        polymorphic_columns,
        (),
        library,
        ("size",),
        scales=(2, 501, 1002),
    ),
    Pair(
        "columns of a subclass behind a relationship",
        subclass_behind_a_relationship,
        polymorphic_behind_a_relationship,
        (r"options\(selectinload\(Department.people\).selectin_polymorphic\(\[Engineer\]\)\)",),
        company,
        ("people",),
        "# behind",
    ),
    grows(
        "objects that a rollback expired",
        expired_by_rollback,
        None,
        "# rolled back",
        "Author objects that have expired",
        "populate_existing=True",
    ),
    grows(
        "objects that were expired by hand",
        expired_by_hand,
        loaded_again_at_once,
        "# by hand",
        "select(Author).where(Author.id.in_(ids)).execution_options(populate_existing=True)",
    ),
    grows(
        "objects refreshed one by one",
        refreshed_one_by_one,
        None,
        "# refreshes",
        "refresh() of every Author",
        "select(Author).where(Author.id.in_(ids))",
    ),
    grows(
        "one attribute refreshed",
        one_attribute_refreshed,
        None,
        "# one attribute",
        "refresh() of every Author",
    ),
    grows(
        "columns that the database generates",
        generated_by_the_database,
        None,
        "# generated",
        "attributes: Author.changed",
        '__mapper_args__ = {"eager_defaults": True} on Author',
        writes=True,
    ),
    grows(
        "columns that an UPDATE computes",
        computed_in_the_update,
        None,
        "# writes them",
        "UPDATE on authors, sent once per item of size by flush()",
        "attributes: Author.edits",
        writes=True,
    ),
    grows(
        "a commit after each object",
        commit_after_each,
        one_commit,
        "",
        "Session(expire_on_commit=False)",
        writes=True,
    ),
)
