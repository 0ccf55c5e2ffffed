"""RowErrorRecorder: record and read rows that a schema refused or a transform could not process.

An export leaves both tables out, as the original does.
"""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Table, select

from elspeth.contracts.models import TransformErrorRecord, ValidationErrorRecord
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.landscape.schema import (
    nodes_table,
    runs_table,
    tokens_table,
    transform_errors_table,
    validation_errors_table,
)
from elspeth.core.landscape.store.reader import Load, Model
from elspeth.core.landscape.store.references import Reference
from elspeth.core.landscape.store.row_models import StoredRow
from elspeth.core.landscape.store.writer import LandscapeWriter


class RowErrorRecorder(LandscapeWriter):
    """Writes and reads validation errors and transform errors."""

    # Only the run is a foreign key. A source may refuse a row before its node is registered, so an
    # unknown node, token or transform is stored as in the original. A known one has to be of the
    # run.

    def record_validation_error(
        self,
        run_id: str,
        node_id: str | None,
        row_data: Mapping[str, object],
        error: str,
        schema_mode: str,
        destination: str,
    ) -> str:
        """Record a source row that its schema refused, with its data, and return the error's id.

        Args:
            run_id: The run.
            node_id: The node that refused the row, if it is known.
            row_data: The row, stored as canonical JSON with its hash.
            error: The reason.
            schema_mode: The mode of the schema: "strict", "free" or "dynamic".
            destination: Where the row goes: "discard" or the name of a sink.

        Raises:
            ValueError: The row has no canonical JSON.
            RecordingError: The node is of another run.
        """
        record = ValidationErrorRecord(
            error_id=f"verr_{self._new_id()[:12]}",
            run_id=run_id,
            node_id=node_id,
            row_hash=stable_hash(row_data),
            error=error,
            schema_mode=schema_mode,
            destination=destination,
            created_at=self._clock(),
            row_data_json=canonical_json(row_data),
        )
        self._insert(
            validation_errors_table,
            record,
            Reference(runs_table, run_id),
            Reference(nodes_table, node_id),
        )
        return record.error_id

    def record_transform_error(
        self,
        run_id: str,
        token_id: str,
        transform_id: str,
        row_data: Mapping[str, object],
        error_details: Mapping[str, object],
        destination: str,
    ) -> str:
        """Record a row that a transform could not process, and return the error's id.

        Args:
            run_id: The run.
            token_id: The token of the row.
            transform_id: The transform: the id of its node, or its name.
            row_data: The row, stored as canonical JSON with its hash.
            error_details: The reason, stored as canonical JSON.
            destination: Where the row goes: "discard" or the name of a sink.

        Raises:
            ValueError: The row or the details have no canonical JSON.
            RecordingError: The token or the transform's node is of another run.
        """
        record = TransformErrorRecord(
            error_id=f"terr_{self._new_id()[:12]}",
            run_id=run_id,
            token_id=token_id,
            transform_id=transform_id,
            row_hash=stable_hash(row_data),
            destination=destination,
            created_at=self._clock(),
            row_data_json=canonical_json(row_data),
            error_details_json=canonical_json(error_details),
        )
        self._insert(
            transform_errors_table,
            record,
            Reference(runs_table, run_id),
            Reference(tokens_table, token_id),
            Reference(nodes_table, transform_id),
        )
        return record.error_id

    def get_validation_errors_for_row(
        self, run_id: str, row_hash: str
    ) -> list[ValidationErrorRecord]:
        """List a run's validation errors of rows with this hash, by creation."""
        # A refused row has no id: it never enters the pipeline.
        errors = validation_errors_table.c
        condition = (errors.run_id == run_id) & (errors.row_hash == row_hash)
        return self._errors(validation_errors_table, _load_validation_error, condition)

    def get_validation_errors_for_run(self, run_id: str) -> list[ValidationErrorRecord]:
        """List a run's validation errors by creation."""
        condition = validation_errors_table.c.run_id == run_id
        return self._errors(validation_errors_table, _load_validation_error, condition)

    def get_transform_errors_for_token(self, token_id: str) -> list[TransformErrorRecord]:
        """List a token's transform errors by creation."""
        condition = transform_errors_table.c.token_id == token_id
        return self._errors(transform_errors_table, _load_transform_error, condition)

    def get_transform_errors_for_run(self, run_id: str) -> list[TransformErrorRecord]:
        """List a run's transform errors by creation."""
        condition = transform_errors_table.c.run_id == run_id
        return self._errors(transform_errors_table, _load_transform_error, condition)

    def _errors(
        self, table: Table, load: Load[Model], condition: ColumnElement[bool]
    ) -> list[Model]:
        statement = select(table).where(condition)
        statement = statement.order_by(table.c.created_at, self._bytewise(table.c.error_id))
        return self._load(table, load, statement)


def _load_validation_error(row: StoredRow) -> ValidationErrorRecord:
    return ValidationErrorRecord(
        error_id=row.text("error_id"),
        run_id=row.text("run_id"),
        node_id=row.text_or_none("node_id"),
        row_hash=row.text("row_hash"),
        error=row.text("error"),
        schema_mode=row.text("schema_mode"),
        destination=row.text("destination"),
        created_at=row.timestamp("created_at"),
        row_data_json=row.text_or_none("row_data_json"),
    )


def _load_transform_error(row: StoredRow) -> TransformErrorRecord:
    return TransformErrorRecord(
        error_id=row.text("error_id"),
        run_id=row.text("run_id"),
        token_id=row.text("token_id"),
        transform_id=row.text("transform_id"),
        row_hash=row.text("row_hash"),
        destination=row.text("destination"),
        created_at=row.timestamp("created_at"),
        row_data_json=row.text_or_none("row_data_json"),
        error_details_json=row.text_or_none("error_details_json"),
    )
