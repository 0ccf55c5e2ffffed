"""A project with N+1 queries of several kinds, and its tests run as a growing run does."""

import json
from typing import Any

import pytest
from test_pytest_plugin import OPTIONS

from querygrowth.suite.grow.runner import GrowRunner

Results = dict[str, dict[str, Any]]


def grown(pytester: pytest.Pytester, *options: str) -> Results:
    """Run the suite as the growing process does, and return what each test shows, by its name."""
    path = pytester.path / "results.jsonl"
    path.unlink(missing_ok=True)
    pytester.inline_run(*OPTIONS, *options, plugins=[GrowRunner(None, path)])
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return {each["test"].rpartition("::")[2]: each for each in results}


def found(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The findings of a test: rule, about, function, and the counts."""
    assert result.get("judged"), result
    return [
        (
            each["finding"]["rule"],
            each["finding"]["about"],
            each["finding"]["place"].rpartition("::")[2],
            (each["control"], each["one"], each["three"]),
        )
        for each in result["found"]
    ]


MODELS = """
    from datetime import datetime
    from sqlalchemy import (
        Boolean, Column, ForeignKey, String, Table, UniqueConstraint, create_engine)
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

    class Base(DeclarativeBase):
        type_annotation_map = {str: String(80)}  # MariaDB's texts have a length

    links = Table("links", Base.metadata, Column("post_id", ForeignKey("posts.id")),
                  Column("tag_id", ForeignKey("tags.id")))

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        name: Mapped[str]
        is_default: Mapped[bool] = mapped_column(default=False)
        posts: Mapped[list["Post"]] = relationship(back_populates="author", order_by="Post.id")
        profile: Mapped["Profile"] = relationship(uselist=False)

    class Profile(Base):
        __tablename__ = "profiles"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

    class Post(Base):
        __tablename__ = "posts"
        __table_args__ = (UniqueConstraint("author_id", "slug"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        parent_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id"))
        slug: Mapped[str]
        author: Mapped[User] = relationship(back_populates="posts")
        replies: Mapped[list["Post"]] = relationship()
        tags: Mapped[list["Tag"]] = relationship(secondary=links)

    class Tag(Base):
        __tablename__ = "tags"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(unique=True)
"""
APPLICATION = """
    import random
    from models import Post, Profile, Tag, User
    from sqlalchemy import func, select
    from sqlalchemy.orm import selectinload

    def authors_of_posts(session):
        return [post.author.name for post in session.scalars(select(Post))]

    def tags_of_posts(session):
        return [[tag.name for tag in post.tags] for post in session.scalars(select(Post))]

    def replies(session, post_id):
        return [len(reply.replies) for reply in session.get(Post, post_id).replies]

    def counts_of_posts(session, name):
        user = session.scalars(select(User).where(User.name == name)).one_or_none()
        return [
            session.scalar(select(func.count()).where(Post.parent_id == post.id))
            for post in user.posts
        ]

    def default_profile(session):
        user = session.scalars(select(User).where(User.is_default)).one()
        return session.scalars(select(Profile).where(Profile.user_id == user.id)).one()

    def newest(session):
        posts = session.scalars(select(Post).order_by(Post.id.desc()).limit(3))
        return [post.author.name for post in posts]

    def post(session, post_id):
        return session.get(Post, post_id).slug

    def all_of_one(session, name):
        user = session.scalar(select(User).where(User.name == name))
        return [post.slug for post in user.posts]

    KNOWN = {}

    def known_names(session):
        for each in session.scalars(select(User.id)).all():
            if each not in KNOWN:
                KNOWN[each] = session.scalar(select(User.name).where(User.id == each))
        return KNOWN

    CHANCE = random.Random(3)  # 5 with one copy, 4 without, 7 with three, then 9 without

    def by_chance(session):
        for _ in range(CHANCE.randint(2, 9)):
            session.scalar(select(func.count()).select_from(User))

    def explodes(session):
        try:
            return session.scalars(select(User)).one()
        except Exception:
            for _ in range(3):
                session.scalar(select(func.count()).select_from(User))

    def eager(session):
        posts = session.scalars(select(Post).options(selectinload(Post.tags)))
        return [[tag.name for tag in post.tags] for post in posts]

    def user_and_posts(session, name):
        return session.scalars(select(User).where(User.name == name)).one(), newest(session)
"""
