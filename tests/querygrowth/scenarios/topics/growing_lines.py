"""One statement sent at several lines, of which one grows: the failure names that line.

The other line sends more at every scale, or comes first, and does not cause the growth.
"""

from collections.abc import Callable
from typing import cast

from sqlalchemy import Connection, Engine, ForeignKey, insert, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from scenarios.library import Author, Book, Tag, library
from scenarios.pair import Pair, Rows, in_memory, numbered

# More than the loop that grows sends at the largest scale.
_MANY = 70


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "members"
    id: Mapped[int] = mapped_column(primary_key=True)


class Article(Base):
    """An article by the first member. Its editor and its reader are members of their own."""

    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    writer_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    editor_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    writer: Mapped[Member] = relationship(foreign_keys=[writer_id])
    editor: Mapped[Member] = relationship(foreign_keys=[editor_id])
    reader: Mapped[Member] = relationship(foreign_keys=[reader_id])


def _rows(size: int = 2) -> Rows:
    return {
        Member.__table__: numbered(size * 2 + 1),
        Article.__table__: numbered(
            size,
            writer_id=0,
            editor_id=lambda n: n + 1,
            reader_id=lambda n: size + n + 1,
        ),
    }


articles = in_memory(Base.metadata, _rows)


def lazy_at_two_lines(engine: Engine) -> list[int]:
    for _ in range(_MANY):
        with Session(engine) as session:
            _ = cast(Author, session.get(Author, 0)).books
    with Session(engine) as session:
        return [len(author.books) for author in session.scalars(select(Author))]  # grows


def lazy_at_the_first_line(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        found = [len(author.books) for author in authors]  # grows
    for _ in range(_MANY):
        with Session(engine) as session:
            _ = cast(Author, session.get(Author, 0)).books
    return found


def lazy_at_one_line(engine: Engine) -> list[int]:
    loaded = selectinload(Author.books)
    for _ in range(_MANY):
        with Session(engine) as session:
            _ = cast(Author, session.get(Author, 0)).books
    with Session(engine) as session:
        return [len(author.books) for author in session.scalars(select(Author).options(loaded))]


def get_and_lazy(engine: Engine) -> list[int]:
    """`get` and a lazy load send the same statement."""
    with Session(engine) as session:
        found = [cast(Member, session.get(Member, 0)).id]
        found += [each.writer.id for each in session.scalars(select(Article))]
        return found + [each.editor.id for each in session.scalars(select(Article))]  # grows


def get_and_joined(engine: Engine) -> list[int]:
    loaded = joinedload(Article.editor)
    with Session(engine) as session:
        found = [cast(Member, session.get(Member, 0)).id]
        return found + [each.editor.id for each in session.scalars(select(Article).options(loaded))]


def both_of_one_target(engine: Engine) -> list[tuple[int, int]]:
    with Session(engine) as session:
        found = session.scalars(select(Article)).all()
        return [(each.editor.id, each.reader.id) for each in found]  # both grow


def both_joined(engine: Engine) -> list[tuple[int, int]]:
    loaded = joinedload(Article.editor), joinedload(Article.reader)
    with Session(engine) as session:
        found = session.scalars(select(Article).options(*loaded)).all()
        return [(each.editor.id, each.reader.id) for each in found]


def _first_name(connection: Connection, number: int) -> str | None:
    return connection.scalar(select(Tag.name).where(Tag.id == number))  # of one


def _later_name(connection: Connection, number: int) -> str | None:
    return connection.scalar(select(Tag.name).where(Tag.id == number))  # of each


def through_two_helpers(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        found = [_first_name(connection, 0) for _ in range(_MANY)]
        ids = connection.scalars(select(Author.id)).all()
        return found + [_later_name(connection, number) for number in ids]


def through_one_helper(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        found = [_first_name(connection, 0) for _ in range(_MANY)]
        return found + _names_of_all(connection)


def _names_of_all(connection: Connection) -> list[str | None]:
    ids = connection.scalars(select(Author.id)).all()
    return [_first_name(connection, number) for number in ids]


def _sent(connection: Connection, number: int | None) -> list[str | None]:
    statement = select(Author.name) if number is None else select(Tag.name).where(Tag.id == number)
    return list(connection.scalars(statement))


def through_a_wrapper(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        found = [_sent(connection, 0) for _ in range(_MANY)]
        names = _sent(connection, None)
        return [*found, *(_sent(connection, number) for number in range(len(names)))]  # grows


def through_no_loop(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        found = [_first_name(connection, 0) for _ in range(_MANY)]
        ids = connection.scalars(select(Author.id)).all()
        return [*found, *connection.scalars(select(Tag.name).where(Tag.id < len(ids)))]


def inserts_at_two_lines(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for number in ids:
            connection.execute(insert(Tag).values(name=f"of {number}"))  # grows
        for number in range(_MANY):
            connection.execute(insert(Tag).values(name=f"fixed {number}"))
        return len(ids)


def inserts_in_bulk(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        connection.execute(insert(Tag), [{"name": f"of {number}"} for number in ids])
        for number in range(_MANY):
            connection.execute(insert(Tag).values(name=f"fixed {number}"))
        return len(ids)


def empty_transactions_at_two_lines(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        connection.commit()
        for _ in ids:
            with connection.begin():  # grows
                pass
        for _ in range(_MANY):
            with connection.begin():
                pass
        return len(ids)


def empty_transactions_at_one_line(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        connection.commit()
        for _ in range(_MANY):
            with connection.begin():
                pass
        return len(ids)


def pragmas_at_two_lines(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for _ in ids:
            connection.exec_driver_sql("PRAGMA user_version")  # grows
        for _ in range(_MANY):
            connection.exec_driver_sql("PRAGMA user_version")
        return len(ids)


def pragmas_at_one_line(engine: Engine) -> int:
    with engine.connect() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for _ in range(_MANY):
            connection.exec_driver_sql("PRAGMA user_version")
        return len(ids)


_PAIRS_OF_BOOKS = text("SELECT a.id, b.id FROM books AS a, books AS b WHERE a.id < :n")


def rows_at_two_lines(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        found = [*connection.scalars(select(Book.id))]
        rows = connection.execute(_PAIRS_OF_BOOKS, {"n": 10**6}).all()  # grows
        for _ in range(5):
            connection.execute(_PAIRS_OF_BOOKS, {"n": 0}).all()
        return [*found, *(row for row in rows if row[0] == row[1])]


def rows_at_one_line(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        found = [*connection.scalars(select(Book.id))]
        for _ in range(5):
            connection.execute(_PAIRS_OF_BOOKS, {"n": 0}).all()
        return [*found, *found]


def _pair(
    name: str,
    bad: Callable[..., object],
    twin: Callable[..., object],
    *words: str,
    place: str = "# grows",
    populate: Callable[..., object] = library,
    writes: bool = False,
) -> Pair:
    return Pair(name, bad, twin, words, populate, axes=("size",), place=place, writes=writes)


PAIRS = (
    _pair(
        "a lazy load at two lines",
        lazy_at_two_lines,
        lazy_at_one_line,
        "relationship: Author.books",
        r"Author loaded at: .* in lazy_at_two_lines",
    ),
    _pair(
        "a lazy load at two lines, the first grows",
        lazy_at_the_first_line,
        lazy_at_one_line,
        "relationship: Author.books",
    ),
    _pair(
        "get and two lazy loads with one statement",
        get_and_lazy,
        get_and_joined,
        "relationship: Article.editor",
        r"joinedload\(Article.editor\)",
        populate=articles,
    ),
    _pair(
        "two relationships of one target, both lazy",
        both_of_one_target,
        both_joined,
        "Article.editor",
        "Article.reader",
        place="# both grow",
        populate=articles,
    ),
    _pair(
        "one statement in two helpers",
        through_two_helpers,
        through_no_loop,
        "a loop that queries tags",
        place="# of each",
    ),
    _pair(
        "one helper with two callers",
        through_one_helper,
        through_no_loop,
        "called by: .*_names_of_all",
        place="# of one",
    ),
    _pair(
        "one statement in a wrapper of all queries",
        through_a_wrapper,
        through_no_loop,
        "a loop that queries tags",
    ),
    _pair(
        "INSERT at two lines", inserts_at_two_lines, inserts_in_bulk, "INSERT on tags", writes=True
    ),
    _pair(
        "empty transactions at two lines",
        empty_transactions_at_two_lines,
        empty_transactions_at_one_line,
        "transactions grew with size",
    ),
    _pair(
        "a pragma at two lines",
        pragmas_at_two_lines,
        pragmas_at_one_line,
        "session statements grew with size",
    ),
    _pair(
        "fetched rows at two lines",
        rows_at_two_lines,
        rows_at_one_line,
        "fetched rows grew faster than",
    ),
)
