"""RowLineageReader: read the data of source rows from a payload store, checked by its hash."""

import json
from typing import Any

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.contracts.models import Row, RowLineage
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape.row_data import PayloadStore, RowDataResult, RowDataState
from elspeth.core.landscape.store.reader import LandscapeReader


class RowLineageReader(LandscapeReader):
    """Reads the data of source rows. Data that is not the recorded row is never returned."""

    def get_row_data(self, row_id: str) -> RowDataResult:
        """Return the data of a row, or the reason why there is none.

        Raises:
            CorruptAuditDataError: The store has other data than the row was recorded with.
        """
        row = self.get_row(row_id)
        if row is None:
            return RowDataResult(RowDataState.ROW_NOT_FOUND, None)
        if row.source_data_ref is None:
            return RowDataResult(RowDataState.NEVER_STORED, None)
        if self.payload_store is None:
            return RowDataResult(RowDataState.STORE_NOT_CONFIGURED, None)
        try:
            return RowDataResult(RowDataState.AVAILABLE, _retrieve(self.payload_store, row))
        except KeyError:
            return RowDataResult(RowDataState.PURGED, None)

    def explain_row(self, run_id: str, row_id: str) -> RowLineage | None:
        """Return a row with its data, or None when the run has no such row.

        Data that was deleted, or that the store cannot read, leaves `source_data` None and
        `payload_available` False. The hash of the row is there in any case.

        Raises:
            CorruptAuditDataError: The store has other data than the row was recorded with.
        """
        row = self.get_row(row_id)
        if row is None or row.run_id != run_id:
            return None
        data = None
        if row.source_data_ref and self.payload_store is not None:
            try:
                data = _retrieve(self.payload_store, row)
            except (KeyError, OSError, json.JSONDecodeError, UnicodeDecodeError):
                data = None
        return RowLineage(
            row_id=row.row_id,
            run_id=row.run_id,
            source_node_id=row.source_node_id,
            row_index=row.row_index,
            source_data_hash=row.source_data_hash,
            created_at=row.created_at,
            source_data=data,
            payload_available=data is not None,
        )


def _retrieve(store: PayloadStore, row: Row) -> dict[str, Any]:
    data: dict[str, Any] | None = json.loads(store.retrieve(str(row.source_data_ref)).decode())
    # A payload that was changed, or put under another reference, must not pass as the row.
    if data is None or not _has_hash(data, row.source_data_hash):
        raise CorruptAuditDataError(
            "rows",
            {"row_id": row.row_id},
            "source_data_ref",
            f"refers to data that does not have the hash {row.source_data_hash}",
        )
    return data


def _has_hash(data: object, expected: str) -> bool:
    try:
        return stable_hash(data) == expected
    except ValueError:
        # No row can have been recorded with data that has no hash, such as NaN.
        return False
