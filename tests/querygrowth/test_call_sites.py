"""Origins: the line that causes a statement, not the function that sends them all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from querygrowth.call_sites import Project, telling_lines, trace_origins


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = create_engine("sqlite://")
    yield opened
    opened.dispose()


def send(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))  # what every statement goes through


def ask_for_one(connection: Connection) -> None:
    send(connection, "SELECT 1")


def ask_for_two(connection: Connection) -> None:
    send(connection, "SELECT 2")


def lines(engine: Engine, *actions: object) -> dict[str, str]:
    with (
        trace_origins(engine, Project(Path(__file__).parent)) as stacks,
        engine.connect() as connection,
    ):
        for action in actions:
            action(connection)  # type: ignore[operator]
    return {sql: site.function for sql, site in telling_lines(stacks).items()}


def test_the_line_is_past_what_all_statements_go_through(engine: Engine) -> None:
    assert lines(engine, ask_for_one, ask_for_two) == {
        "SELECT 1": "ask_for_one",
        "SELECT 2": "ask_for_two",
    }


def test_a_statement_alone_is_told_by_its_innermost_line(engine: Engine) -> None:
    assert lines(engine, ask_for_one) == {"SELECT 1": "send"}


def test_what_the_project_did_not_send_has_no_line(engine: Engine, tmp_path: Path) -> None:
    with trace_origins(engine, Project(tmp_path)) as stacks, engine.connect() as connection:
        ask_for_one(connection)
    assert telling_lines(stacks) == {}


def test_nothing_is_listened_to_afterwards(engine: Engine) -> None:
    with trace_origins(engine) as stacks:
        pass
    with engine.connect() as connection:
        ask_for_one(connection)
    assert stacks == {}
