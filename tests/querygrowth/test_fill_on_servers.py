"""Tables that fill themselves on PostgreSQL and MariaDB: what SQLite does not have.

MariaDB is tested with pymysql where the environment variable `QUERYGROWTH_MYSQL` gives the URL of
an empty database.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from querygrowth import VerdictError, assert_query_growth, fill_tables

POSTGRESQL = """
CREATE SCHEMA filled;
SET search_path TO filled;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]{2}-[0-9]+$');
CREATE TABLE a (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood mood NOT NULL, code code NOT NULL,
    tags text[] NOT NULL, data jsonb NOT NULL, address inet NOT NULL, span interval NOT NULL,
    amount numeric(5, 2) NOT NULL CHECK (amount > 0), valid daterange NOT NULL,
    state varchar(9) NOT NULL CHECK (state IN ('new', 'old')), size int NOT NULL,
    double int GENERATED ALWAYS AS (size * 2) STORED, at timestamptz NOT NULL);
CREATE TABLE b (id serial PRIMARY KEY, a int NOT NULL REFERENCES a, c int NOT NULL);
CREATE TABLE c (id serial PRIMARY KEY, b int NOT NULL REFERENCES b DEFERRABLE);
ALTER TABLE b ADD FOREIGN KEY (c) REFERENCES c DEFERRABLE;
CREATE TABLE once (id serial PRIMARY KEY, a int UNIQUE NULLS NOT DISTINCT REFERENCES a);
CREATE TABLE parts (id int NOT NULL, at date NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000000)
"""


def test_every_table_of_postgresql_is_filled(postgresql_url: str) -> None:
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        for statement in POSTGRESQL.split(";"):
            connection.exec_driver_sql(statement)
        names = ("filled.a", "filled.b", "filled.c", "filled.once", "filled.parts")
        filled = fill_tables(connection, list(names), rows=40)
        assert filled.rows == dict.fromkeys(names, 40)
        # The sequences continue after the numbers that a cycle needed beforehand.
        connection.exec_driver_sql("INSERT INTO b (a, c) VALUES (1, 1)")
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        assert connection.scalar(sa.text("SELECT max(id) FROM b")) == 41
    engine.dispose()


MARIADB = """
CREATE TABLE a (
    id INT AUTO_INCREMENT PRIMARY KEY, mood ENUM('good', 'bad') NOT NULL, data JSON NOT NULL,
    small TINYINT NOT NULL, at YEAR NOT NULL, flags SET('x', 'y') NOT NULL, bits BIT(3) NOT NULL,
    name VARCHAR(50) NOT NULL, size INT NOT NULL CHECK (size > 100), UNIQUE (name(5)),
    content MEDIUMBLOB NOT NULL, digest BINARY(4) NOT NULL);
CREATE TABLE b (id BIGINT UNSIGNED PRIMARY KEY, a INT NOT NULL, FOREIGN KEY (a) REFERENCES a (id))
"""


def mariadb_url() -> sa.URL:
    url = os.environ.get("QUERYGROWTH_MYSQL")
    if not url:
        pytest.skip("needs QUERYGROWTH_MYSQL, the URL of a MariaDB or MySQL database")
    pytest.importorskip("pymysql")
    return sa.make_url(url).set(drivername="mysql+pymysql")


def test_every_table_of_mariadb_is_filled() -> None:
    engine = sa.create_engine(mariadb_url())
    with engine.begin() as connection:
        for statement in MARIADB.split(";"):
            connection.exec_driver_sql(statement)
        try:
            assert fill_tables(connection, ["a", "b"], rows=200).rows == {"a": 200, "b": 200}
        finally:
            connection.exec_driver_sql("DROP TABLE b, a")
    engine.dispose()


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "growing_authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40), unique=True)
    books: Mapped[list["Book"]] = relationship()


class Book(Base):
    __tablename__ = "growing_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("growing_authors.id"))


def lazily(session: Session) -> list[int]:
    return [len(author.books) for author in session.scalars(sa.select(Author))]


def grown_on(url: str | sa.URL) -> None:
    @contextmanager
    def new_database() -> Iterator[sa.Engine]:
        engine = sa.create_engine(url)
        Base.metadata.create_all(engine)
        yield engine
        Base.metadata.drop_all(engine)
        engine.dispose()

    with pytest.raises(VerdictError, match="queries grew with growing_authors") as raised:
        assert_query_growth(lazily, models=Base, new_database=new_database, scales=(2, 5, 9))
    assert "relationship: Author.books" in str(raised.value)


def test_filled_tables_grow_on_postgresql(postgresql_url: str) -> None:
    grown_on(postgresql_url)


def test_filled_tables_grow_on_mariadb() -> None:
    grown_on(mariadb_url())
