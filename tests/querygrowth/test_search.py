"""Search for blow-ups: a planted loop is found and shrunk, and a sound action has none."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text

from querygrowth.contracts.contract import QueryContract
from querygrowth.counting.activity import Activity
from querygrowth.counting.watch import action_runner, watch
from querygrowth.search import find_blow_up


@dataclass(frozen=True)
class Token:
    group: str | None


@dataclass(frozen=True)
class Row:
    tokens: tuple[Token, ...]


tokens = st.builds(Token, st.sampled_from([None, None, None, "fork", "join"]))
runs = st.lists(st.builds(Row, st.lists(tokens, max_size=4).map(tuple)), max_size=8)
ONE_PER_TABLE = QueryContract(per_table=1)


def tokens_of(engine: Engine, run: list[Row], *, loops_over_joins: bool) -> int:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT id, joined FROM tokens")).all()
        for token, joined in found if loops_over_joins else ():
            if joined:
                connection.execute(
                    text("SELECT parent FROM parents WHERE token = :t"), {"t": token}
                )
        return len(found)


def observe(run: list[Row], *, loops_over_joins: bool) -> Activity:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE tokens (id INTEGER PRIMARY KEY, joined INTEGER)"))
        connection.execute(text("CREATE TABLE parents (token INTEGER, parent INTEGER)"))
        for row in run:
            for token in row.tokens:
                connection.execute(
                    text("INSERT INTO tokens (joined) VALUES (:j)"), {"j": token.group == "join"}
                )
    with action_runner() as runner:
        seen = watch(
            lambda engine: tokens_of(engine, run, loops_over_joins=loops_over_joins),
            engine,
            runner=runner,
        )
    engine.dispose()
    return seen


def test_a_loop_over_joined_tokens_only_is_found_and_shrunk_alike_each_time() -> None:
    found, again = [
        find_blow_up(runs, lambda run: observe(run, loops_over_joins=True), ONE_PER_TABLE)
        for _ in range(2)
    ]
    assert found is not None
    assert again is not None
    assert again.example == found.example
    assert len(found.example) <= 2
    assert [t.group for row in found.example for t in row.tokens] == ["join", "join"]
    assert found.excess == 1
    assert "2 queries about parents" in str(found)


def test_an_action_without_a_loop_is_left_alone() -> None:
    sound = find_blow_up(
        runs, lambda run: observe(run, loops_over_joins=False), ONE_PER_TABLE, max_examples=50
    )
    assert sound is None


def test_an_error_of_the_action_itself_is_not_hidden() -> None:
    def broken(run: list[Row]) -> Activity:
        raise LookupError("the action's own")

    with pytest.raises(LookupError, match="the action's own"):
        find_blow_up(runs, broken, ONE_PER_TABLE, max_examples=5)


def test_a_contract_without_a_limit_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^a search needs a limit to exceed: set per_table or total$"
    ):
        find_blow_up(runs, observe, QueryContract())
