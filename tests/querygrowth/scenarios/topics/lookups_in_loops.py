"""Lookups in a loop: the failure names the table and the key, and the query to send instead."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, Executable, bindparam, exists, func, select, text, tuple_
from sqlalchemy.orm import Session

from scenarios.library import Author, Book, Profile, Seat, Tag, grows

authors, books = Author.__table__, Book.__table__


def core_lookups(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        ids = connection.scalars(select(authors.c.id)).all()
        found = []
        for author in ids:
            titles = select(books.c.title).where(books.c.author_id == author)
            found += connection.scalars(titles)  # looks up
        return found


def core_in_list(engine: Engine) -> Sequence[str]:
    with engine.connect() as connection:
        ids = connection.scalars(select(authors.c.id)).all()
        titles = select(books.c.title).where(books.c.author_id.in_(ids))
        return connection.scalars(titles).all()


def text_lookups(engine: Engine) -> list[object]:
    query = text("SELECT name FROM authors WHERE id = :id")
    with engine.connect() as connection:
        ids = connection.scalars(text("SELECT id FROM authors")).all()
        return [connection.scalar(query, {"id": author}) for author in ids]


def text_in_list(engine: Engine) -> Sequence[object]:
    query = text("SELECT name FROM authors WHERE id IN :ids").bindparams(
        bindparam("ids", expanding=True)
    )
    with engine.connect() as connection:
        ids = connection.scalars(text("SELECT id FROM authors")).all()
        return connection.scalars(query, {"ids": ids}).all()


def driver_lookups(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        ids = connection.exec_driver_sql("SELECT id FROM authors").scalars().all()
        query = "SELECT name FROM authors WHERE id = ?"
        return [connection.exec_driver_sql(query, (author,)).scalar() for author in ids]


def session_get(engine: Engine) -> list[str]:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        return [session.get(Author, author).name for author in ids]


def one_query_for_all(engine: Engine) -> list[str]:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        found = session.scalars(select(Author).where(Author.id.in_(ids)))
        return [author.name for author in found]


def get_by_two_keys(engine: Engine) -> list[bool]:
    with Session(engine) as session:
        keys = session.execute(select(Seat.row, Seat.number)).all()
        return [session.get(Seat, tuple(key)).taken for key in keys]  # by two keys


def all_seats_by_key(engine: Engine) -> list[bool]:
    with Session(engine) as session:
        keys = [tuple(key) for key in session.execute(select(Seat.row, Seat.number))]
        seats = session.scalars(select(Seat).where(tuple_(Seat.row, Seat.number).in_(keys)))
        return [seat.taken for seat in seats]


def legacy_query_get(engine: Engine) -> list[str]:
    with Session(engine) as session:
        ids = [row.id for row in session.query(Author.id)]
        found = [session.query(Author).filter_by(id=author).one() for author in ids]  # legacy
        return [author.name for author in found]


def orm_lookups(engine: Engine) -> list[str]:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        profiles = [session.scalar(select(Profile).where(Profile.author_id == n)) for n in ids]
        return [profile.text for profile in profiles if profile is not None]


def counts_one_by_one(engine: Engine) -> list[int | None]:
    with Session(engine) as session:
        counts = []
        for author in session.scalars(select(Author.id)).all():
            own = select(func.count()).select_from(Book).where(Book.author_id == author)
            counts.append(session.scalar(own))  # counts
        return counts


def counts_in_groups(engine: Engine) -> list[int]:
    with Session(engine) as session:
        grouped = select(Book.author_id, func.count()).group_by(Book.author_id)
        return [count for _, count in session.execute(grouped)]


def latest_one_by_one(engine: Engine) -> list[str | None]:
    with Session(engine) as session:
        latest = []
        for author in session.scalars(select(Author.id)).all():
            own = select(Book.title).where(Book.author_id == author).order_by(Book.id.desc())
            latest.append(session.scalar(own.limit(1)))  # the latest
        return latest


def existence_one_by_one(engine: Engine) -> list[bool | None]:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        return [session.scalar(select(exists().where(Book.author_id == n))) for n in ids]


def the_same_query_each_time(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        ids = connection.scalars(select(authors.c.id)).all()
        return [connection.execute(text("SELECT count(*) FROM tags")).scalar_one() for _ in ids]


def the_query_before_the_loop(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        ids = connection.scalars(select(authors.c.id)).all()
        tags = connection.execute(text("SELECT count(*) FROM tags")).scalar_one()
        return [tags for _ in ids]


def ranges_in_a_loop(engine: Engine) -> list[int | None]:
    with engine.connect() as connection:
        ids = connection.scalars(select(authors.c.id)).all()
        below = select(func.max(books.c.id))
        return [connection.scalar(below.where(books.c.id <= number)) for number in ids]


def run(connection: Connection, statement: Executable) -> Sequence[object]:
    return connection.execute(statement).scalars().all()  # the helper that all queries go through


def through_a_helper(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        ids = run(connection, select(authors.c.id))
        found: list[object] = []
        for author in ids:
            query = select(books.c.title).where(books.c.author_id == author)
            found += run(connection, query)  # calls the helper
        return found


def through_a_helper_once(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        ids = run(connection, select(authors.c.id))
        return [*ids, *run(connection, select(books.c.title))]


class Repository:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def tag(self, number: object) -> object:
        return self.connection.scalar(select(Tag.name).where(Tag.id == number))  # in a repository


def one_caller_of_two_loops(engine: Engine) -> list[object]:
    """The same query of a repository is sent once by one caller, and in a loop by another one."""
    with engine.connect() as connection:
        repository = Repository(connection)
        return [first_tag(repository), *tags_of_all(repository, connection)]


def first_tag(repository: Repository) -> object:
    return repository.tag(0)


def tags_of_all(repository: Repository, connection: Connection) -> list[object]:
    ids = connection.scalars(select(authors.c.id)).all()
    return [repository.tag(number) for number in ids]


PAIRS = (
    grows(
        "lookups of Core",
        core_lookups,
        core_in_list,
        "# looks up",
        "a loop that queries books once per item of size with WHERE author_id = ?",
        "with IN for author_id",
    ),
    grows(
        "lookups in text",
        text_lookups,
        text_in_list,
        "connection.scalar(query",
        "queries authors once per item of size with WHERE id = ?",
        "with IN for id",
    ),
    grows(
        "lookups in driver SQL",
        driver_lookups,
        None,
        "exec_driver_sql(query",
        "queries authors once per item of size with WHERE id = ?",
    ),
    grows(
        "Session.get",
        session_get,
        one_query_for_all,
        "session.get(Author",
        "session.scalars(select(Author).where(Author.id.in_(ids))).all()",
    ),
    grows(
        "Session.get by two keys",
        get_by_two_keys,
        all_seats_by_key,
        "# by two keys",
        "select(Seat).where(tuple_(Seat.row, Seat.number).in_(keys))",
    ),
    grows(
        "the legacy Query",
        legacy_query_get,
        None,
        "# legacy",
        "queries authors once per item of size with WHERE id = ?",
        "Author.id.in_(...)",
    ),
    grows(
        "lookups of the ORM",
        orm_lookups,
        None,
        "select(Profile).where",
        "queries profiles once per item of size with WHERE author_id = ?",
        "Profile.author_id.in_(...)",
    ),
    grows(
        "counts one by one",
        counts_one_by_one,
        counts_in_groups,
        "# counts",
        "Book.author_id.in_(...), and GROUP BY it",
    ),
    grows(
        "the latest one by one",
        latest_one_by_one,
        None,
        "# the latest",
        "Book.author_id.in_(...), and keep one row for each (row_number()",
    ),
    grows(
        "existence one by one",
        existence_one_by_one,
        None,
        "exists().where",
        "queries books once per item of size with WHERE author_id = ?",
    ),
    grows(
        "the same query each time",
        the_same_query_each_time,
        the_query_before_the_loop,
        "SELECT count(*) FROM tags",
        "sends the same query about tags once per item of size: send it once before the loop",
    ),
    grows(
        "ranges in a loop",
        ranges_in_a_loop,
        None,
        "below.where",
        "a loop that queries books once per item of size: fetch them in one query",
    ),
    grows(
        "a helper that everyone calls",
        through_a_helper,
        through_a_helper_once,
        "# calls the helper",
        "called by: ",
        "in run",
    ),
    grows(
        "one caller of a repository loops",
        one_caller_of_two_loops,
        None,
        "# in a repository",
        "in one_caller_of_two_loops",
        "in tags_of_all",
    ),
)
