"""A process that keeps recording while others export, so that a torn snapshot would show.

Every transaction appends to a growing run: one record in each of the tables that an export reads,
first and last among them, all with the transaction's number. So each state that was ever committed
holds the numbers 1 to n in each of these tables, and n in the run itself.
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

_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_TRANSACTIONS_A_RUN = 50
"""After so many a new run is recorded as well."""
_SECONDS_BETWEEN = 0.01
"""So that the growing runs stay small enough for several minutes."""
_NUMBERED = {
    "row": "source_data_hash",
    "token": "branch_name",
    "node_state": "input_hash",
    "artifact": "content_hash",
}
"""The field of a record in which the number of its transaction is kept."""


@dataclass
class Appended:
    """What the writer had committed when it ended."""

    transactions: int = 0
    runs: int = 0


def begin_growing(db: LandscapeDB, run_id: str) -> None:
    """Record a run that `appending_to` appends to."""
    recorder = LandscapeRecorder(db)
    recorder.begin_run({}, "v1", run_id=run_id)
    recorder.register_node(
        run_id, "node", NodeType.TRANSFORM, "1", {}, node_id=f"{run_id} node", schema_config=DYNAMIC
    )
    with db.connection() as connection:
        _number_run(connection, run_id, 0)


def append(connection: Connection, run_id: str, number: int) -> None:
    """Append what one transaction adds to a growing run."""
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
        created_at=_MOMENT,
    )
    _add(connection, tokens_table, token_id=key, row_id=key, branch_name=mark, created_at=_MOMENT)
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
        started_at=_MOMENT,
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
        created_at=_MOMENT,
    )


def transactions_seen(records: Iterable[dict[str, Any]]) -> int:
    """How many transactions an export of a growing run holds; ValueError if one only in part."""
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
                f"{expected} transactions by the run, other {record_type} records: "
                f"{', '.join(sorted(differing)[:3])}"
            )
    return expected


@contextmanager
def appending_to(url: str, run_ids: Sequence[str]) -> Iterator[Appended]:
    """Have a process append to growing runs and record new ones; what it gives is told at the end.

    RuntimeError when it failed.
    """
    command = [sys.executable, __file__, json.dumps({"url": url, "run_ids": run_ids})]
    appended = Appended()
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield appended
        finally:
            # It ends when its standard input does, so that it cannot outlive this process.
            out, err = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the writer failed: {err}")
    appended.transactions, appended.runs = json.loads(out)


def _number_run(connection: Connection, run_id: str, number: int) -> None:
    of_run = update(runs_table).where(runs_table.c.run_id == run_id)
    connection.execute(of_run.values(config_hash=f"{number}"))


def _add(connection: Connection, table: Table, **values: object) -> None:
    connection.execute(insert(table), values)


def main() -> None:
    """Append and record until standard input ends; then tell how much that was."""
    request = json.loads(sys.argv[1])
    appended = Appended()
    with LandscapeDB(request["url"], create_tables=False) as db:
        recorder = LandscapeRecorder(db)
        for number, run_id in _numbered(request["run_ids"]):
            with db.connection() as connection:
                append(connection, run_id, number)
            appended.transactions += 1
            if appended.transactions % _TRANSACTIONS_A_RUN == 0:
                record_sample_run(recorder, f"new {appended.runs}")
                appended.runs += 1
            if select([sys.stdin], [], [], _SECONDS_BETWEEN)[0]:
                break
    sys.stdout.write(json.dumps([appended.transactions, appended.runs]))


def _numbered(run_ids: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number in count(1):
        for run_id in run_ids:
            yield number, run_id


if __name__ == "__main__":
    main()
