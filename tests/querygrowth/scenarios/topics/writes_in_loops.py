"""Writes in a loop: the failure names the bulk form to use instead."""

from sqlalchemy import Engine, bindparam, delete, insert, select, text, update
from sqlalchemy.orm import Session

from scenarios.library import Author, Book, Chapter, Seat, Tag, grows

tags, seats = Tag.__table__, Seat.__table__


def core_inserts(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for number in ids:
            connection.execute(insert(tags).values(name=f"new {number}"))  # inserts
        return len(ids)


def core_bulk_insert(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        connection.execute(insert(tags), [{"name": f"new {number}"} for number in ids])
        return len(ids)


def text_inserts(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for number in ids:
            connection.execute(text("INSERT INTO tags (name) VALUES (:name)"), {"name": number})
        return len(ids)


def orm_inserts(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.execute(insert(Tag).values(name=f"new {number}"))  # inserts by class
        session.commit()
        return len(ids)


def flush_after_each(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.add(Tag(name=f"new {number}"))
            session.flush()  # flushes
        session.commit()
        return len(ids)


def bulk_insert_of_a_class(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        session.execute(insert(Tag), [{"name": f"new {number}"} for number in ids])
        session.commit()
        return len(ids)


def commit_after_each(engine: Engine) -> int:
    with Session(engine, expire_on_commit=False) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.add(Tag(name=f"new {number}"))
            session.commit()  # commits
        return len(ids)


def autoflush_in_a_query(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.add(Tag(name=f"new {number}"))
            session.scalars(select(Book.id).limit(1))  # flushes first
        session.commit()
        return len(ids)


def core_updates(engine: Engine) -> int:
    with engine.begin() as connection:
        numbers = connection.scalars(select(seats.c.number)).all()
        for number in numbers:
            taken = update(seats).where(seats.c.number == number).values(taken=True)
            connection.execute(taken)  # updates
        return len(numbers)


def core_bulk_update(engine: Engine) -> int:
    with engine.begin() as connection:
        numbers = connection.scalars(select(seats.c.number)).all()
        taken = update(seats).where(seats.c.number == bindparam("key")).values(taken=True)
        connection.execute(taken, [{"key": number} for number in numbers])
        return len(numbers)


def orm_updates(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.execute(update(Author).where(Author.id == number).values(edits=1))
        session.commit()
        return len(ids)


def orm_bulk_update(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        session.execute(update(Author), [{"id": number, "edits": number} for number in ids])
        session.commit()
        return len(ids)


def core_deletes(engine: Engine) -> int:
    with engine.begin() as connection:
        numbers = connection.scalars(select(seats.c.number)).all()
        for number in numbers:
            connection.execute(delete(seats).where(seats.c.number == number))  # deletes
        return len(numbers)


def orm_deletes(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Chapter.id)).all()
        for number in ids:
            session.execute(delete(Chapter).where(Chapter.id == number))  # deletes by class
        session.commit()
        return len(ids)


def orm_bulk_delete(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Chapter.id)).all()
        session.execute(delete(Chapter).where(Chapter.id.in_(ids)))
        session.commit()
        return len(ids)


def cascades(engine: Engine) -> int:
    """Session.delete loads the children of every object, to delete them too."""
    with Session(engine) as session:
        books = session.scalars(select(Book)).all()
        for book in books:
            session.delete(book)  # cascades
        session.flush()
        return len(books)


def merges(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.merge(Author(id=number, name="merged"))  # merges
        session.flush()
        return len(ids)


def merges_loaded_objects(engine: Engine) -> int:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        with session.no_autoflush:
            for author in authors:
                session.merge(Author(id=author.id, name="merged"))
        session.flush()
        return len(authors)


def bulk_saves_of_one(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            session.bulk_save_objects([Tag(name=f"new {number}")])  # saves one
        session.commit()
        return len(ids)


def bulk_save_of_all(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        session.bulk_save_objects([Tag(name=f"new {number}") for number in ids])
        session.commit()
        return len(ids)


def inserts_from_selects(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = connection.scalars(select(Author.id)).all()
        for number in ids:
            named = select(Author.name).where(Author.id == number)
            connection.execute(insert(tags).from_select(["name"], named))  # from select
        return len(ids)


def savepoint_for_each(engine: Engine) -> int:
    with Session(engine) as session:
        ids = session.scalars(select(Author.id)).all()
        for number in ids:
            with session.begin_nested():
                session.add(Tag(name=f"new {number}"))
        session.commit()
        return len(ids)


PAIRS = (
    grows(
        "bulk saves of one object",
        bulk_saves_of_one,
        bulk_save_of_all,
        "# saves one",
        "by bulk_save_objects(): call it once with all objects",
        writes=True,
    ),
    grows(
        "inserts from selects",
        inserts_from_selects,
        None,
        "# from select",
        "connection.execute(insert(tags).from_select([...], select(...)))",
        writes=True,
    ),
    grows(
        "a savepoint for each insert",
        savepoint_for_each,
        None,
        "",
        "by the end of a `with` block",
        writes=True,
    ),
    grows(
        "inserts of Core",
        core_inserts,
        core_bulk_insert,
        "# inserts",
        "a loop that sends INSERT on tags once per item of size",
        "connection.execute(insert(tags), [{...}, {...}])",
        writes=True,
    ),
    grows(
        "inserts in text",
        text_inserts,
        None,
        "INSERT INTO tags",
        "a loop that sends INSERT on tags once per item of size",
        writes=True,
    ),
    grows(
        "inserts of a class",
        orm_inserts,
        None,
        "# inserts by class",
        "session.execute(insert(Tag), [{...}, {...}])",
        writes=True,
    ),
    grows(
        "a flush after each object",
        flush_after_each,
        bulk_insert_of_a_class,
        "# flushes",
        "INSERT on tags, sent once per item of size by flush()",
        "session.add_all(...)",
        writes=True,
    ),
    grows(
        "a commit after each new object",
        commit_after_each,
        None,
        "# commits",
        "INSERT on tags, sent once per item of size by commit()",
        writes=True,
    ),
    grows(
        "an autoflush before a query",
        autoflush_in_a_query,
        None,
        "# flushes first",
        "by the autoflush before scalars() (with session.no_autoflush: prevents it)",
        writes=True,
    ),
    grows(
        "updates of Core",
        core_updates,
        core_bulk_update,
        "# updates",
        "connection.execute(update(seats).where(seats.c.number == bindparam('key'))",
        "seats.c.number.in_(...)",
        writes=True,
    ),
    grows(
        "updates of a class",
        orm_updates,
        orm_bulk_update,
        "update(Author).where",
        'session.execute(update(Author), [{"id": ..., ...}, ...])',
        "update(Author).where(Author.id.in_(...)).values(...)",
        writes=True,
    ),
    grows(
        "deletes of Core",
        core_deletes,
        None,
        "# deletes",
        "connection.execute(delete(seats).where(seats.c.number.in_(...)))",
        writes=True,
    ),
    grows(
        "deletes of a class",
        orm_deletes,
        orm_bulk_delete,
        "# deletes by class",
        "session.execute(delete(Chapter).where(Chapter.id.in_(...)))",
        writes=True,
    ),
    grows(
        "deletes that cascade",
        cascades,
        None,
        "# cascades",
        "relationship: Book.chapters",
        "passive_deletes=True",
        "delete(Book).where(Book.id.in_(ids))",
        writes=True,
    ),
    grows(
        "merges",
        merges,
        merges_loaded_objects,
        "# merges",
        "merge(), which loads every Author",
        writes=True,
    ),
)
