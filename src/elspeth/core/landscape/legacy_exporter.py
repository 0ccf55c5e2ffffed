"""LegacyLandscapeExporter: the control, which sends one query for each entity of a run.

The batched exporter is compared with it. It therefore keeps the N+1 queries that the batched one
replaces: exactly 6 + R + 2T + 2S + B queries (R rows, T tokens, S node states, B batches), one in a
transaction.
"""

# Independence is the purpose of this module. It reads through the recorder, lists fields and order
# itself, encodes with rfc8785 and signs with hmac, and shares none of that with the batched
# exporter or the verifier: an error in one of the three shows as a difference. import-linter checks
# it.

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import rfc8785

from elspeth.contracts import Token
from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError, not_ascending
from elspeth.core.clock import Clock, utc_now
from elspeth.core.compression import Compression
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.legacy_records import (
    artifact_record,
    batch_member_record,
    batch_record,
    call_record,
    edge_record,
    isoformat,
    node_record,
    node_state_record,
    routing_event_record,
    row_record,
    run_record,
    token_parent_record,
    token_record,
)
from elspeth.core.landscape.output.publish import (
    Progress,
    PublishedExport,
    publish_csv,
    publish_jsonl,
)
from elspeth.core.landscape.recorder import LandscapeRecorder


class LegacyLandscapeExporter:
    """Exports one run of an audit trail, one entity at a time."""

    def __init__(
        self,
        db: LandscapeDB,
        signing_key: bytes | None = None,
        *,
        clock: Clock = utc_now,
        leave_out: Iterable[str] = (),
    ) -> None:
        """Export from `db`.

        Args:
            db: The audit trail.
            signing_key: Needed to sign.
            clock: Gives the manifest's `exported_at`.
            leave_out: As in `LandscapeDB.check_schema`.
        """
        self._db = db
        self._recorder = LandscapeRecorder(db)
        self._signing_key = signing_key
        self._clock = clock
        self._left_out = sorted(set(leave_out))

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the run's records in emission order.

        Args:
            run_id: The run.
            sign: Add a signature to every record, and a signed manifest at the end.

        Raises:
            ValueError: Signing lacks a key. This and every other error comes at a `next()`.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported.
            SchemaMismatchError, LeaveOutError: As in `LandscapeDB.check_schema`.
        """
        if sign and self._signing_key is None:
            raise ValueError("A signed export needs a key, but no signing_key provided")
        running_hash = hashlib.sha256()
        record_count = 0
        for record in self._iter_records(run_id):
            # The signature covers the record without itself; the hash covers the signatures.
            if sign:
                record["signature"] = self._sign_record(record)
                running_hash.update(record["signature"].encode())
                record_count += 1
            yield record
        if sign:
            # The manifest is not counted in record_count and its signature is not in the hash. The
            # clock is read last, so `exported_at` is the end of the export.
            manifest: dict[str, Any] = {
                "record_type": "manifest",
                "run_id": run_id,
                "record_count": record_count,
                "final_hash": running_hash.hexdigest(),
                "hash_algorithm": "sha256",
                "signature_algorithm": "hmac-sha256",
                "exported_at": self._clock().isoformat(),
            }
            if self._left_out:
                manifest["left_out"] = ",".join(self._left_out)
            manifest["signature"] = self._sign_record(manifest)
            yield manifest

    def export_run_grouped(
        self, run_id: str, sign: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the records by type, in order of first appearance.

        The whole run is held in memory.

        Args:
            run_id: The run.
            sign: As for `export_run`, which says what is raised too.
        """
        grouped: dict[str, list[dict[str, Any]]] = {}
        for record in self.export_run(run_id, sign=sign):
            grouped.setdefault(record["record_type"], []).append(record)
        return grouped

    def write_jsonl(
        self,
        run_id: str,
        path: Path,
        sign: bool = False,
        *,
        progress: Progress | None = None,
        compression: Compression | None = None,
    ) -> PublishedExport:
        """Write the run to a JSON Lines file, which appears when it is complete.

        Args:
            run_id: The run.
            path: The file, replaced when it exists.
            sign: As for `export_run`, which says what is raised too.
            progress: Called now and then with the number of records written so far.
            compression: Compresses the file; None leaves it as it is.

        Raises:
            ExportTargetError: `path` cannot be a file.
            OSError: Writing fails.
        """
        lines = self.export_lines(run_id, sign)
        return publish_jsonl(path, lines, progress=progress, compression=compression)

    def export_lines(self, run_id: str, sign: bool = False) -> Iterator[bytes]:
        """Yield the lines of a JSON Lines file, with newlines. Arguments as for `export_run`."""
        return (rfc8785.dumps(record) + b"\n" for record in self.export_run(run_id, sign=sign))

    def write_csv(
        self, run_id: str, directory: Path, sign: bool = False, *, progress: Progress | None = None
    ) -> PublishedExport:
        """Write the run to a directory of CSV files, which appears when it is complete.

        There is one file for each record type.

        Args:
            run_id: The run.
            directory: The directory, replaced when it holds an earlier export.
            sign: As for `export_run`, which says what is raised too.
            progress: Called now and then with the number of records written so far.

        Raises:
            ExportTargetError: `directory` holds anything but an export.
            OSError: Writing fails.
        """
        return publish_csv(directory, self.export_run(run_id, sign=sign), progress=progress)

    def _sign_record(self, record: dict[str, Any]) -> str:
        if self._signing_key is None:
            raise ValueError("Signing key not configured")
        return hmac.new(self._signing_key, rfc8785.dumps(record), hashlib.sha256).hexdigest()

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        # One query for each parent, on purpose: 1 for the run, 5 for the run's lists, and R + 2T +
        # 2S + B for the lists below them.
        with self._db.schema_checked(self._left_out):
            run = self._recorder.get_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        yield run_record(run)
        for node in self._recorder.get_nodes(run_id):
            yield node_record(run_id, node)
        for edge in self._recorder.get_edges(run_id):
            yield edge_record(run_id, edge)
        for row in self._recorder.get_rows(run_id):
            yield row_record(run_id, row)
            for token in self._recorder.get_tokens(row.row_id):
                yield from self._iter_token_records(run_id, token)
        batches = self._recorder.get_batches(run_id)
        _refuse_other_order(
            "batches",
            ("created_at", "batch_id"),
            [(isoformat(each.created_at), each.batch_id) for each in batches],
        )
        for batch in batches:
            yield batch_record(run_id, batch)
            for member in self._recorder.get_batch_members(batch.batch_id):
                yield batch_member_record(run_id, member)
        for artifact in self._recorder.get_artifacts(run_id):
            yield artifact_record(run_id, artifact)

    def _iter_token_records(self, run_id: str, token: Token) -> Iterator[dict[str, Any]]:
        yield token_record(run_id, token)
        for parent in self._recorder.get_token_parents(token.token_id):
            yield token_parent_record(run_id, parent)
        for state in self._recorder.get_node_states_for_token(token.token_id):
            yield node_state_record(run_id, state)
            events = self._recorder.get_routing_events(state.state_id)
            _refuse_other_order(
                "routing_events",
                ("ordinal", "event_id"),
                [(each.ordinal, each.event_id) for each in events],
            )
            for event in events:
                yield routing_event_record(run_id, event)
            for call in self._recorder.get_calls(state.state_id):
                yield call_record(run_id, call)


def _refuse_other_order(
    table: str, columns: tuple[str, str], keys: Sequence[tuple[Any, str]]
) -> None:
    """Refuse entities that SQLite sorts in another way than a verifier sorts their records."""
    # The second column is the primary key.
    for previous, key in pairwise(keys):
        if previous >= key:
            at = 0 if previous[0] != key[0] else 1
            problem = not_ascending(previous[at], key[at])
            raise CorruptAuditDataError(table, {columns[1]: key[1]}, columns[at], problem)
