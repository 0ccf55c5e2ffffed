"""A second process that commits to a run on command, while the run is exported.

`ConcurrentWriter` is the parent's side. The child runs this module as a program: it reads one line
of JSON with the database and the run, answers "ready", writes when it reads a second line, and
answers "done".
"""

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from typing import Self

from sqlalchemy import func, select, update

from elspeth.contracts import Determinism, NodeStateStatus, NodeType, RoutingMode, RunStatus
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder, rows_table, runs_table
from harness import packaged

# Apart from the snapshot check, because a check waits for this program: its imports take 0.3 s of
# processor time, and 0.5 s with those of the check.
_READY, _DONE = "ready", "done"


class ConcurrentWriterError(RuntimeError):
    """The second process could not write."""


class ConcurrentWriter(AbstractContextManager["ConcurrentWriter"]):
    """The parent's side: starts the second process on entry, and ends it on exit.

    Args:
        url: The database's URL, with its password if it has one.
        run_id: The run to add records to.
    """

    def __init__(self, url: str, run_id: str) -> None:
        # Sent through a pipe: all users of a machine can read the arguments of a process, and the
        # URL may hold a password.
        self._request = json.dumps({"url": url, "run_id": run_id})
        self.has_written = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.checks.concurrent_writer"],
            env=packaged.child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # Wait until its database is open: a write must come at its moment in the export, and not
        # when a process has started.
        self._send(self._request, answer=_READY)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def write(self) -> None:
        """Add one record of every type to the run, and return once they are committed.

        Only the first call writes. Raises ConcurrentWriterError if the second process failed.
        """
        if not self.has_written:
            self.has_written = True
            self._send("write", answer=_DONE)

    def _send(self, line: str, *, answer: str) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ConcurrentWriterError("the second process has no pipes")
        stdin.write(f"{line}\n")
        stdin.flush()
        answered = stdout.readline().strip()
        if answered != answer:
            raise ConcurrentWriterError(
                f"the second process could not write: {answered or 'it ended early'}"
            )


def add_records_of_every_type(db: LandscapeDB, run_id: str) -> None:
    """Append a record of every type to a run, and change the stored run itself."""
    recorder = LandscapeRecorder(db)
    node = recorder.register_node(
        run_id,
        "concurrent writer",
        NodeType.TRANSFORM,
        "1",
        {},
        determinism=Determinism.DETERMINISTIC,
        schema_config=SchemaConfig.from_dict({"fields": "dynamic"}),
    )
    edge = recorder.register_edge(run_id, node.node_id, node.node_id, "again", RoutingMode.MOVE)
    row = recorder.create_row(run_id, node.node_id, _next_index(db, run_id), {})
    token = recorder.create_token(row.row_id)
    recorder.expand_token(token.token_id, row.row_id, 1, 0)
    state = recorder.begin_node_state(token.token_id, node.node_id, 0, {})
    recorder.record_routing_event(state.state_id, edge.edge_id, RoutingMode.MOVE)
    recorder.record_call(state.state_id, 0, "http", "success", {})
    recorder.complete_node_state(
        state.state_id, NodeStateStatus.COMPLETED, output_data={}, duration_ms=1.0
    )
    batch = recorder.create_batch(run_id, node.node_id)
    recorder.add_batch_member(batch.batch_id, token.token_id, 0)
    recorder.register_artifact(run_id, state.state_id, node.node_id, "file", "/x", "0" * 64, 1)
    # Not by the recorder, which refuses to change the end of a run that has ended.
    change = update(runs_table).where(runs_table.c.run_id == run_id)
    values = {"status": RunStatus.FAILED.value, "reproducibility_grade": "attributable_only"}
    with db.connection() as connection:
        connection.execute(change.values(values))


def _next_index(db: LandscapeDB, run_id: str) -> int:
    last = select(func.max(rows_table.c.row_index)).where(rows_table.c.run_id == run_id)
    with db.connection() as connection:
        return int(connection.execute(last).scalar() or 0) + 1


def main() -> None:
    """Run the second process: open the database, and write on the second line of input."""
    request = json.loads(sys.stdin.readline())
    with LandscapeDB(request["url"], create_tables=False) as db:
        _answer(_READY)
        if not sys.stdin.readline():
            return
        try:
            add_records_of_every_type(db, request["run_id"])
        except Exception as error:
            _answer(f"{type(error).__name__}: {error}".splitlines()[0])
        else:
            _answer(_DONE)


def _answer(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
