"""The default cases: every key of every order decides, where luck would not give the same order.

The expected order of a record type is sorted here again from the stored tables. A pair of
neighbours counts for a key if the key alone puts them in order, and the order of insertion, the
order of ids and the order of times would all put them the other way round.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import record_cases, tie_cases

LEAST = 5
"""The least number of pairs that a key has to decide."""


class Order:
    """The order of a record type: below a parent, by the columns of a table."""

    def __init__(self, table: str, parent: str, keys: Sequence[str], *, id_: str, time: str):
        self.table, self.parent, self.keys, self.id, self.time = table, parent, keys, id_, time


ORDERS = (
    Order(
        "nodes",
        "run_id",
        ("sequence_in_pipeline", "registered_at", "node_id"),
        id_="node_id",
        time="registered_at",
    ),
    Order("edges", "run_id", ("created_at", "edge_id"), id_="edge_id", time="created_at"),
    Order("rows", "run_id", ("row_index",), id_="row_id", time="created_at"),
    Order("tokens", "row_id", ("created_at", "token_id"), id_="token_id", time="created_at"),
    Order("token_parents", "token_id", ("ordinal",), id_="parent_token_id", time=""),
    Order("node_states", "token_id", ("step_index", "attempt"), id_="state_id", time="started_at"),
    Order("routing_events", "state_id", ("ordinal", "event_id"), id_="event_id", time="created_at"),
    Order("calls", "state_id", ("call_index",), id_="call_id", time="created_at"),
    Order("batches", "run_id", ("created_at", "batch_id"), id_="batch_id", time="created_at"),
    Order("batch_members", "batch_id", ("ordinal",), id_="token_id", time=""),
    Order(
        "artifacts", "run_id", ("created_at", "artifact_id"), id_="artifact_id", time="created_at"
    ),
)
KEYS = [(order.table, key) for order in ORDERS for key in order.keys]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], int]:
    """The number of pairs that each key decides against luck, in the default cases together."""
    found: Counter[tuple[str, str]] = Counter()
    stored = {case.stored: case for case in (*record_cases("sqlite"), *tie_cases())}
    directory = tmp_path_factory.mktemp("cases")
    for number, case in enumerate(stored.values()):
        with LandscapeDB(f"sqlite:///{directory / str(number)}.db") as db:
            if not case.corruption:
                case.store(db)
                for order in ORDERS:
                    found.update((order.table, key) for key in decisive_keys(db, order))
    return found


def decisive_keys(db: LandscapeDB, order: Order) -> Iterator[str]:
    """Yield the key that decides a pair of neighbours against luck, for each such pair."""
    children: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with db.connection() as connection:
        for row in connection.exec_driver_sql(f"SELECT rowid AS place, * FROM {order.table}"):
            children[row._mapping[order.parent]].append(dict(row._mapping))
    for siblings in children.values():
        siblings.sort(key=lambda row: tuple(sort_key(row[key]) for key in order.keys))
        for before, after in pairwise(siblings):
            key = next(key for key in order.keys if before[key] != after[key])
            luck = {"place", order.id, order.time} - {key, ""}
            # Columns of earlier keys tie in this pair, so they do not put it in any order.
            luck -= set(order.keys[: order.keys.index(key)])
            # Tied times leave the pair to the other two orders.
            if all(sort_key(before[each]) >= sort_key(after[each]) for each in luck):
                yield key


def sort_key(value: Any) -> Any:
    """NULL last, and text by its bytes."""
    return (value is None, value.encode() if isinstance(value, str) else value or 0)


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_every_order_key_decides_where_luck_does_not(
    decided: Mapping[tuple[str, str], int], table: str, key: str
) -> None:
    assert decided[(table, key)] >= LEAST
