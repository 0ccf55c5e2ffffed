"""Tests of partitions: every row is in exactly one, and all cost the same to read."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_run import SampleRun, fixed_clock

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.export.queries import WHOLE, Partition, split_rows
from elspeth.core.landscape.export.signed_lines import read_blocks
from elspeth.core.landscape.schema import rows_table
from querygrowth.counting.log import count_queries


@pytest.fixture(scope="module")
def row_indices() -> Iterator[LandscapeDB]:
    """A database for rows that differ in nothing but their index."""
    with LandscapeDB.in_memory() as db:
        with db.connection() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        yield db


@settings(deadline=None)
@given(indices=st.sets(st.integers(-(2**53) + 1, 2**53 - 1), max_size=30), parts=st.integers(1, 9))
def test_every_row_is_in_one_partition_and_all_are_nearly_alike(
    row_indices: LandscapeDB, indices: set[int], parts: int
) -> None:
    with row_indices.connection() as connection:
        connection.execute(rows_table.delete())
        if indices:
            connection.execute(rows_table.insert(), [row(index) for index in indices])
        partitions = split_rows(connection, "r", parts)
    assert len(partitions) == min(parts, max(len(indices), 1))
    assert (partitions[0].opens, partitions[-1].closes) == (True, True)
    held = [[index for index in sorted(indices) if holds(each, index)] for each in partitions]
    assert [index for part in held for index in part] == sorted(indices)
    sizes = set(map(len, held))
    assert max(sizes) - min(sizes) <= 1


def row(index: int) -> dict[str, object]:
    return {
        "row_id": str(index),
        "run_id": "r",
        "source_node_id": "n",
        "row_index": index,
        "source_data_hash": "h",
        "created_at": fixed_clock(),
    }


def holds(partition: Partition, index: int) -> bool:
    return (partition.first is None or partition.first <= index) and (
        partition.end is None or index < partition.end
    )


@pytest.mark.parametrize("landscape_url", ["sqlite"], indirect=True)  # PostgreSQL stores no other
def test_a_run_with_an_index_that_is_not_an_integer_stays_whole(
    db: LandscapeDB, sample: SampleRun
) -> None:
    with db.connection() as connection:
        connection.exec_driver_sql("UPDATE rows SET row_index = 1.5 WHERE row_index = 1")
        assert split_rows(connection, sample.run_id, 4) == (WHOLE,)


@pytest.mark.parametrize(
    ("partition", "queries"),
    [
        (WHOLE, 12),
        (Partition(None, 2), 9),
        (Partition(1, 3), 6),
        (Partition(2, None), 9),
    ],
)
def test_a_partition_costs_one_query_for_each_of_its_tables(
    db: LandscapeDB, sample: SampleRun, partition: Partition, queries: int
) -> None:
    with count_queries(db.engine, call_sites=False) as log, db.read_snapshot() as snapshot:
        for _ in read_blocks(snapshot, sample.run_id, None, partition):
            pass
    assert log.total == queries
    assert set(log.by_table.values()) == {1}


def test_partitions_joined_are_the_whole(db: LandscapeDB, sample: SampleRun) -> None:
    with db.read_snapshot() as snapshot:
        partitions = split_rows(snapshot.connection, sample.run_id, 3)
        parts = [
            block.lines
            for each in partitions
            for block in read_blocks(snapshot, sample.run_id, None, each)
        ]
        whole = [block.lines for block in read_blocks(snapshot, sample.run_id, None)]
    assert len(partitions) == 3
    assert b"".join(parts) == b"".join(whole)
