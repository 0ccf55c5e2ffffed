"""Tables of a library in memory, with a relationship of every kind."""

import re
from collections.abc import Callable
from typing import ClassVar

from sqlalchemy import Column, FetchedValue, ForeignKey, Table, func
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    mapped_column,
    relationship,
)

from scenarios.pair import Pair, Rows, in_memory, numbered


class Base(DeclarativeBase):
    pass


book_tags = Table(
    "book_tags",
    Base.metadata,
    Column("book_id", ForeignKey("books.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    biography: Mapped[str] = mapped_column(default="", deferred=True)
    letters: Mapped[str] = mapped_column(default="", deferred=True, deferred_group="papers")
    diary: Mapped[str] = mapped_column(default="", deferred=True, deferred_group="papers")
    edits: Mapped[int] = mapped_column(default=0)
    changed: Mapped[str] = mapped_column(
        server_default=func.current_timestamp(), server_onupdate=FetchedValue()
    )
    books: Mapped[list["Book"]] = relationship(
        back_populates="author", cascade="all, delete-orphan"
    )
    profile: Mapped["Profile | None"] = relationship(
        back_populates="author", cascade="all, delete-orphan"
    )
    pages: DynamicMapped["Page"] = relationship(passive_deletes="all")
    awards: WriteOnlyMapped["Award"] = relationship(passive_deletes="all")

    @property
    def titles(self) -> list[str]:
        return [book.title for book in self.books]


class Profile(Base):
    __tablename__ = "profiles"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), unique=True)
    text: Mapped[str]
    author: Mapped[Author] = relationship(back_populates="profile")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), index=True)
    title: Mapped[str]
    author: Mapped[Author] = relationship(back_populates="books")
    tags: Mapped[list["Tag"]] = relationship(secondary=book_tags)
    chapters: Mapped[list["Chapter"]] = relationship(
        order_by="Chapter.id", cascade="all, delete-orphan"
    )


class Tag(Base):
    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Chapter(Base):
    __tablename__ = "chapters"
    id: Mapped[int] = mapped_column(primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("books.id"), index=True)


class Page(Base):
    __tablename__ = "pages"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), index=True)


class Award(Base):
    __tablename__ = "awards"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"), index=True)


class Shelf(Base):
    """A shelf below another shelf. Shelf 0 is the outermost, shelf n + 1 is on shelf n."""

    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"), index=True)
    parent: Mapped["Shelf | None"] = relationship(remote_side="Shelf.id", back_populates="children")
    children: Mapped[list["Shelf"]] = relationship(back_populates="parent")


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Reader(Person):
    __tablename__ = "readers"
    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    card: Mapped[str]
    favourite_id: Mapped[int] = mapped_column(ForeignKey("tags.id"))
    favourite: Mapped[Tag] = relationship()
    __mapper_args__: ClassVar = {"polymorphic_identity": "reader"}


class Seat(Base):
    __tablename__ = "seats"
    row: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[bool] = mapped_column(default=False)


def _rows(size: int = 2) -> Rows:
    return {
        Author.__table__: numbered(
            size, name=lambda n: f"author {n}", biography="", letters="", diary="", edits=0
        ),
        Profile.__table__: numbered(size, author_id=lambda n: n, text="text"),
        Book.__table__: numbered(size * 2, author_id=lambda n: n % size, title="title"),
        Tag.__table__: numbered(size * 2, name=lambda n: f"tag {n}"),
        book_tags: [{"book_id": n, "tag_id": n} for n in range(size * 2)],
        Chapter.__table__: numbered(size * 2, book_id=lambda n: n),
        Page.__table__: numbered(size, author_id=lambda n: n),
        Award.__table__: numbered(size, author_id=lambda n: n),
        Shelf.__table__: numbered(size, parent_id=lambda n: n - 1 if n else None),
        Person.__table__: numbered(size, kind="reader"),
        Reader.__table__: numbered(size, card="card", favourite_id=lambda n: n),
        Seat.__table__: [{"row": 1, "number": n, "taken": False} for n in range(size)],
    }


def grows(
    name: str,
    bad: Callable[..., object],
    twin: Callable[..., object] | None,
    place: str,
    *texts: str,
    writes: bool = False,
) -> Pair:
    """A pair on the library: the failure of `bad` shows the place, and says all texts literally."""
    words = ("queries grew with size", *map(re.escape, texts))
    return Pair(name, bad, twin, words, library, ("size",), place, scales=(2, 5, 11), writes=writes)


library = in_memory(Base.metadata, _rows)
"""Makes an engine on a library of `size` authors, each with two books and one of all else."""
