"""A process that writes to runs while other processes export them, to detect torn snapshots.

Every transaction adds one row to each of four tables of a growing run, among them the first and the
last that an export reads, and writes its number into all of them and into the run. So a committed
state holds the numbers 1 to n in each of these tables, and n in the run.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from select import select
from typing import Any

from sample_run import DYNAMIC, record_sample_run
from sqlalchemy import Connection, Table, insert, update

from elspeth.contracts import NodeType
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.schema import (
    artifacts_table,
    node_states_table,
    rows_table,
    runs_table,
    tokens_table,
)

_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_TRANSACTIONS_PER_NEW_RUN = 50
"""After so many transactions, a further run is recorded."""
_SECONDS_BETWEEN = 0.01
"""The pause between two transactions, so that the runs stay small over several minutes."""
_NUMBERED = {
    "row": "source_data_hash",
    "token": "branch_name",
    "node_state": "input_hash",
    "artifact": "content_hash",
}
"""The field that holds the number of the transaction, by record type."""


@dataclass
class Written:
    """The numbers of transactions and new runs that the writer process committed."""

    transactions: int = 0
    runs: int = 0


def begin_growing_run(db: LandscapeDB, run_id: str) -> None:
    """Record an empty run for the writer process to append to."""
    recorder = LandscapeRecorder(db)
    recorder.begin_run({}, "v1", run_id=run_id)
    recorder.register_node(
        run_id, "node", NodeType.TRANSFORM, "1", {}, node_id=f"{run_id} node", schema_config=DYNAMIC
    )
    with db.connection() as connection:
        _number_run(connection, run_id, 0)


def append_transaction(connection: Connection, run_id: str, number: int) -> None:
    """Add the rows of one transaction to a growing run."""
    key, mark = f"{run_id} {number}", f"{number}"
    _number_run(connection, run_id, number)
    _add(
        connection,
        rows_table,
        row_id=key,
        run_id=run_id,
        source_node_id=f"{run_id} node",
        row_index=number,
        source_data_hash=mark,
        created_at=_TIME,
    )
    _add(connection, tokens_table, token_id=key, row_id=key, branch_name=mark, created_at=_TIME)
    _add(
        connection,
        node_states_table,
        state_id=key,
        token_id=key,
        node_id=f"{run_id} node",
        step_index=0,
        attempt=0,
        status="open",
        input_hash=mark,
        started_at=_TIME,
    )
    _add(
        connection,
        artifacts_table,
        artifact_id=key,
        run_id=run_id,
        produced_by_state_id=key,
        sink_node_id=f"{run_id} node",
        artifact_type="file",
        path_or_uri="x",
        content_hash=mark,
        size_bytes=1,
        created_at=_TIME,
    )


def count_transactions(records: Iterable[dict[str, Any]]) -> int:
    """Return the number of transactions in an export of a growing run.

    Raises ValueError when the export holds a part of a transaction.
    """
    expected: int | None = None
    found: dict[str, Counter[str]] = {record_type: Counter() for record_type in _NUMBERED}
    for record in records:
        record_type = record["record_type"]
        if record_type == "run":
            expected = int(record["config_hash"])
        elif record_type in _NUMBERED:
            found[record_type][record[_NUMBERED[record_type]]] += 1
    if expected is None:
        raise ValueError("no run")
    whole = Counter(str(number) for number in range(1, expected + 1))
    for record_type, numbers in found.items():
        if numbers != whole:
            differing = (numbers - whole) + (whole - numbers)
            raise ValueError(
                f"{expected} transactions by the run, but other {record_type} records: "
                f"{', '.join(sorted(differing)[:3])}"
            )
    return expected


@contextmanager
def running_writer(url: str, run_ids: Sequence[str]) -> Iterator[Written]:
    """Run a process that appends to growing runs and records new ones, while the block runs.

    The yielded counts are set after the block. Raises RuntimeError when the process failed.
    """
    command = [sys.executable, __file__, json.dumps({"url": url, "run_ids": run_ids})]
    written = Written()
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield written
        finally:
            # The process ends when its standard input does, so it cannot outlive this one.
            out, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the writer failed: {err}")
    written.transactions, written.runs = json.loads(out)


def _number_run(connection: Connection, run_id: str, number: int) -> None:
    of_run = update(runs_table).where(runs_table.c.run_id == run_id)
    connection.execute(of_run.values(config_hash=f"{number}"))


def _add(connection: Connection, table: Table, **values: object) -> None:
    connection.execute(insert(table), values)


def main() -> None:
    """Append and record until standard input ends, then print the counts."""
    request = json.loads(sys.argv[1])
    written = Written()
    with LandscapeDB(request["url"], create_tables=False) as db:
        recorder = LandscapeRecorder(db)
        for number, run_id in _numbered(request["run_ids"]):
            with db.connection() as connection:
                append_transaction(connection, run_id, number)
            written.transactions += 1
            if written.transactions % _TRANSACTIONS_PER_NEW_RUN == 0:
                record_sample_run(recorder, f"new {written.runs}")
                written.runs += 1
            if select([sys.stdin], [], [], _SECONDS_BETWEEN)[0]:
                break
    sys.stdout.write(json.dumps([written.transactions, written.runs]))


def _numbered(run_ids: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number in count(1):
        for run_id in run_ids:
            yield number, run_id


if __name__ == "__main__":
    main()
