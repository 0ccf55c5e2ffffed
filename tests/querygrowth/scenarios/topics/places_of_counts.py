"""Growth of other counts than queries: the failure names the table and the line."""

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from scenarios.library import Author, Book, Tag, library
from scenarios.pair import Pair


def transaction_for_each(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
    found = []
    for number in ids:
        with engine.begin() as connection:
            found.append(connection.scalar(select(Tag.name).where(Tag.id == number)))  # in its own
    return found


def empty_transaction_for_each(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        connection.commit()
        for _ in ids:
            with connection.begin():  # nothing inside
                pass
        return len(ids)


def connection_for_each(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
    for _ in ids:
        with engine.connect():  # no statement
            pass
    return len(ids)


def savepoint_for_each(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for _ in ids:
            with session.begin_nested():
                session.connection()  # opens the savepoint
        session.scalars(select(Book)).all()
        return len(ids)


def pragma_for_each(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for _ in ids:
            connection.exec_driver_sql("PRAGMA user_version")  # a pragma
        return len(ids)


def plan_for_each(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for number in ids:
            explain = text("EXPLAIN QUERY PLAN SELECT * FROM books WHERE author_id = :id")
            connection.execute(explain, {"id": number})  # explains
        return len(ids)


def raw_cursor_for_each(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        cursor = connection.connection.cursor()
        found = []
        for number in ids:
            cursor.execute("SELECT name FROM tags WHERE id = ?", (number,))  # on a raw cursor
            found.append(cursor.fetchone())
        return found


def cross_join(engine: Engine) -> list[object]:
    both = text("SELECT a.id, b.id FROM books AS a, books AS b WHERE a.id >= 0")
    with engine.connect() as connection:
        connection.scalars(select(Author.id)).all()
        rows = connection.execute(both).all()  # multiplies rows
        return [row for row in rows if row[0] == row[1]]


def scan_in_a_scan(engine: Engine) -> list[int]:
    pairs = text("SELECT a.id FROM books AS a JOIN books AS b ON a.title || b.id = 'title0'")
    with engine.connect() as connection:
        ids = list(connection.scalars(select(Author.id)))
        return [*ids, *connection.scalars(pairs)]  # scans


def quadratic_merge(engine: Engine) -> list[list[int]]:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        books = connection.execute(select(Book.id, Book.author_id)).all()
        merged = []
        for author in ids:
            own = []
            for book, written_by in books:  # compares all
                if written_by == author:
                    own.append(book)
            merged.append(own)
        return merged


def _pair(
    name: str,
    bad,
    place: str,
    *words: str,
    writes: bool = False,
    work: tuple[str, ...] = (),
) -> Pair:
    sizes = (2, 9, 30)
    return Pair(name, bad, None, words, library, ("size",), place, sizes, writes=writes, work=work)


PAIRS = (
    _pair(
        "a transaction for each",
        transaction_for_each,
        "# in its own",
        "transactions grew with size",
        "in transaction_for_each",
    ),
    _pair(
        "an empty transaction for each",
        empty_transaction_for_each,
        "# nothing inside",
        "transactions grew with size",
    ),
    _pair(
        "a connection for each",
        connection_for_each,
        "# no statement",
        "checkouts grew with size",
    ),
    _pair(
        "a savepoint for each",
        savepoint_for_each,
        "# opens the savepoint",
        "session statements grew with size",
        "most for books: SAVEPOINT",
    ),
    _pair(
        "a pragma for each",
        pragma_for_each,
        "# a pragma",
        "session statements grew with size",
        "PRAGMA user_version",
    ),
    _pair(
        "a plan for each",
        plan_for_each,
        "# explains",
        "other statements grew with size",
        "EXPLAIN QUERY PLAN",
    ),
    _pair(
        "a raw cursor for each",
        raw_cursor_for_each,
        "# on a raw cursor",
        "went past SQLAlchemy",
        "most for tags: SELECT name FROM tags",
    ),
    _pair(
        "a cross join",
        cross_join,
        "# multiplies rows",
        "fetched rows grew faster",
        "most for books: SELECT",
    ),
    _pair(
        "a scan in a scan",
        scan_in_a_scan,
        "# scans",
        "vm_steps grew faster",
        "most for books: SELECT",
        work=("vm_steps",),
    ),
    _pair(
        "a quadratic merge",
        quadratic_merge,
        "# compares all",
        "branches grew faster",
        work=("branches",),
    ),
)
