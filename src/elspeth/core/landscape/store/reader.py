"""LandscapeReader: read the entities of a run, with one query for a list, in a total order."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Select,
    String,
    Table,
    Text,
    cast,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from elspeth.contracts.enums import BatchStatus, RunStatus
from elspeth.contracts.errors import NOT_UTF8, CorruptAuditDataError, not_in_datetime_range
from elspeth.contracts.models import (
    Artifact,
    Batch,
    BatchMember,
    Call,
    Edge,
    Node,
    NodeState,
    RoutingEvent,
    Row,
    Run,
    Token,
    TokenParent,
)
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.row_data import PayloadStore
from elspeth.core.landscape.schema import (
    artifacts_table,
    batch_members_table,
    batches_table,
    calls_table,
    edges_table,
    node_states_table,
    nodes_table,
    routing_events_table,
    rows_table,
    runs_table,
    token_parents_table,
    tokens_table,
)
from elspeth.core.landscape.store import row_models
from elspeth.core.landscape.store.row_models import StoredRow, key_names

Model = TypeVar("Model")
Condition: TypeAlias = ColumnElement[bool]
FetchedRows: TypeAlias = Sequence[Sequence[Any]]
Load: TypeAlias = Callable[[StoredRow], Model]


class LandscapeReader:
    """Reads the audit trail; every method sends one query in one transaction.

    Every method raises elspeth.contracts.errors.CorruptAuditDataError for a stored value that must
    not be exported, and sqlalchemy.exc.DBAPIError when the database fails.
    """

    # The control exporter reads through these methods. Their orders are written out here, apart
    # from those of the batched exporter: a shared error would not show as a difference. Every order
    # is total, because the order of tied keys depends on the query plan.

    def __init__(self, db: LandscapeDB, *, payload_store: PayloadStore | None = None) -> None:
        """Read from `db`. The payload store holds the data of source rows, outside of it."""
        self._db = db
        self.payload_store = payload_store

    def get_run(self, run_id: str) -> Run | None:
        """Find a run."""
        return self._find(runs_table, row_models.load_run, runs_table.c.run_id == run_id)

    def list_runs(
        self, *, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        """List runs, the latest start first; runs that started together by id.

        Args:
            status: The status of the runs to list; None for all.
            limit: The largest number of runs to list; None for all.
        """
        runs = runs_table.c
        statement = select(runs_table).order_by(runs.started_at.desc(), self._bytewise(runs.run_id))
        if status is not None:
            statement = statement.where(runs.status == RunStatus(status).value)
        if limit is not None:
            statement = statement.limit(limit)
        return self._load(runs_table, row_models.load_run, statement)

    def get_node(self, node_id: str) -> Node | None:
        """Find a node."""
        return self._find(nodes_table, row_models.load_node, nodes_table.c.node_id == node_id)

    def get_nodes(self, run_id: str) -> list[Node]:
        """List a run's nodes by sequence in the pipeline, those without one last."""
        nodes = nodes_table.c
        statement = select(nodes_table).where(nodes.run_id == run_id)
        statement = statement.order_by(
            nodes.sequence_in_pipeline.nulls_last(),
            nodes.registered_at,
            self._bytewise(nodes.node_id),
        )
        return self._load(nodes_table, row_models.load_node, statement)

    def get_edges(self, run_id: str) -> list[Edge]:
        """List a run's edges by creation."""
        edges = edges_table.c
        statement = select(edges_table).where(edges.run_id == run_id)
        statement = statement.order_by(edges.created_at, self._bytewise(edges.edge_id))
        return self._load(edges_table, row_models.load_edge, statement)

    def get_row(self, row_id: str) -> Row | None:
        """Find a source row."""
        return self._find(rows_table, row_models.load_row, rows_table.c.row_id == row_id)

    def get_rows(self, run_id: str) -> list[Row]:
        """List a run's source rows by index."""
        statement = select(rows_table).where(rows_table.c.run_id == run_id)
        statement = statement.order_by(rows_table.c.row_index)
        return self._load(rows_table, row_models.load_row, statement)

    def get_token(self, token_id: str) -> Token | None:
        """Find a token."""
        return self._find(tokens_table, row_models.load_token, tokens_table.c.token_id == token_id)

    def get_tokens(self, row_id: str) -> list[Token]:
        """List a source row's tokens by creation."""
        tokens = tokens_table.c
        statement = select(tokens_table).where(tokens.row_id == row_id)
        statement = statement.order_by(tokens.created_at, self._bytewise(tokens.token_id))
        return self._load(tokens_table, row_models.load_token, statement)

    def get_token_parents(self, token_id: str) -> list[TokenParent]:
        """List a token's parents by ordinal."""
        parents = token_parents_table.c
        statement = select(token_parents_table).where(parents.token_id == token_id)
        statement = statement.order_by(parents.ordinal)
        return self._load(token_parents_table, row_models.load_token_parent, statement)

    def get_node_state(self, state_id: str) -> NodeState | None:
        """Find a node state."""
        condition = node_states_table.c.state_id == state_id
        return self._find(node_states_table, row_models.load_node_state, condition)

    def get_node_states_for_token(self, token_id: str) -> list[NodeState]:
        """List a token's node states by step, retries by attempt."""
        states = node_states_table.c
        statement = select(node_states_table).where(states.token_id == token_id)
        statement = statement.order_by(states.step_index, states.attempt)
        return self._load(node_states_table, row_models.load_node_state, statement)

    def get_routing_events(self, state_id: str) -> list[RoutingEvent]:
        """List a node state's routing events by ordinal, across routing groups."""
        events = routing_events_table.c
        statement = select(routing_events_table).where(events.state_id == state_id)
        statement = statement.order_by(events.ordinal, self._bytewise(events.event_id))
        return self._load(routing_events_table, row_models.load_routing_event, statement)

    def get_calls(self, state_id: str) -> list[Call]:
        """List a node state's calls by index."""
        statement = select(calls_table).where(calls_table.c.state_id == state_id)
        statement = statement.order_by(calls_table.c.call_index)
        return self._load(calls_table, row_models.load_call, statement)

    def get_batch(self, batch_id: str) -> Batch | None:
        """Find a batch."""
        return self._find(
            batches_table, row_models.load_batch, batches_table.c.batch_id == batch_id
        )

    def get_batches(
        self, run_id: str, *, status: BatchStatus | str | None = None, node_id: str | None = None
    ) -> list[Batch]:
        """List a run's batches by creation: all, or those of a status or an aggregation node."""
        conditions = []
        if status:
            conditions.append(batches_table.c.status == BatchStatus(status).value)
        if node_id:
            conditions.append(batches_table.c.aggregation_node_id == node_id)
        return self._batches(run_id, *conditions)

    def get_incomplete_batches(self, run_id: str) -> list[Batch]:
        """List a run's batches that are not completed, by creation; failed ones are included."""
        return self._batches(run_id, batches_table.c.status.in_(_INCOMPLETE))

    def get_batch_members(self, batch_id: str) -> list[BatchMember]:
        """List a batch's members by ordinal."""
        members = batch_members_table.c
        statement = select(batch_members_table).where(members.batch_id == batch_id)
        statement = statement.order_by(members.ordinal)
        return self._load(batch_members_table, row_models.load_batch_member, statement)

    def get_artifacts(self, run_id: str, *, sink_node_id: str | None = None) -> list[Artifact]:
        """List a run's artifacts by creation: all, or those of one sink."""
        artifacts = artifacts_table.c
        statement = select(artifacts_table).where(artifacts.run_id == run_id)
        if sink_node_id:
            statement = statement.where(artifacts.sink_node_id == sink_node_id)
        statement = statement.order_by(artifacts.created_at, self._bytewise(artifacts.artifact_id))
        return self._load(artifacts_table, row_models.load_artifact, statement)

    def _batches(self, run_id: str, *conditions: Condition) -> list[Batch]:
        batches = batches_table.c
        statement = select(batches_table).where(batches.run_id == run_id, *conditions)
        statement = statement.order_by(batches.created_at, self._bytewise(batches.batch_id))
        return self._load(batches_table, row_models.load_batch, statement)

    def _bytewise(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """Return an expression that orders text by its bytes."""
        # SQLite does so by default and has no collation "C"; PostgreSQL uses the database's.
        on_sqlite = self._db.engine.dialect.name == "sqlite"
        return column if on_sqlite else column.collate("C")

    def _find(self, table: Table, load: Load[Model], condition: Condition) -> Model | None:
        return next(iter(self._load(table, load, select(table).where(condition))), None)

    def _load(self, table: Table, load: Load[Model], statement: Select[Any]) -> list[Model]:
        with self._db.connection() as connection:
            rows = _fetch(connection, table, statement)
        names = table.columns.keys()
        return [load(StoredRow(table, dict(zip(names, row, strict=True)))) for row in rows]


_INCOMPLETE = (BatchStatus.DRAFT.value, BatchStatus.EXECUTING.value, BatchStatus.FAILED.value)


def _fetch(connection: Connection, table: Table, statement: Select[Any]) -> FetchedRows:
    try:
        return _fetch_parsed(connection, table, statement)
    except DBAPIError as error:
        raise _undecodable_value(connection, table, statement) or error from error


def _fetch_parsed(connection: Connection, table: Table, statement: Select[Any]) -> FetchedRows:
    try:
        return connection.execute(statement).fetchall()
    except (TypeError, ValueError):
        # SQLAlchemy failed to parse a timestamp and names neither row nor column. As text it
        # reaches StoredRow, which names both. A second query costs nothing in the usual case.
        return connection.execute(_with_raw_timestamps(table, statement)).fetchall()


def _with_raw_timestamps(table: Table, statement: Select[Any]) -> Select[Any]:
    return statement.with_only_columns(
        *(
            type_coerce(column, String) if isinstance(column.type, DateTime) else column
            for column in table.columns
        )
    )


class _Undecodable(bytes):
    """The bytes of a text that the driver cannot decode."""

    # A subclass, to tell it from a blob, which is refused for another reason.


def _undecodable_value(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Read a failed query again and return an error that names the first undecodable value."""
    fetch = _fetch_texts if connection.dialect.name == "sqlite" else _fetch_timestamps
    try:
        rows = fetch(connection, table, statement)
    except SQLAlchemyError:
        # The transaction or the connection is lost. The first error gives the reason.
        return None
    for row in rows:
        values = dict(zip(table.columns.keys(), row, strict=True))
        for name, value in values.items():
            if isinstance(value, _Undecodable):
                on_sqlite = connection.dialect.name == "sqlite"
                problem = NOT_UTF8 if on_sqlite else not_in_datetime_range(value.decode())
                key = {part: _plain(values[part]) for part in key_names(table)}
                return CorruptAuditDataError(table.name, key, name, problem)
    return None


def _fetch_texts(connection: Connection, table: Table, statement: Select[Any]) -> FetchedRows:
    """Fetch on SQLite, which stores any bytes as text; other text than UTF-8 is _Undecodable."""
    # The factory belongs to the pooled connection, so it is always set back.
    driver_connection: Any = connection.connection.driver_connection
    driver_connection.text_factory = _decoded
    try:
        return connection.execute(_with_raw_timestamps(table, statement)).fetchall()
    finally:
        driver_connection.text_factory = str


def _decoded(text: bytes) -> str | _Undecodable:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return _Undecodable(text)


def _fetch_timestamps(connection: Connection, table: Table, statement: Select[Any]) -> FetchedRows:
    """Fetch on PostgreSQL; a timestamp outside the range of datetime is _Undecodable."""
    # PostgreSQL stores infinity and years that Python's datetime does not have.
    as_text = statement.with_only_columns(
        *(
            cast(column, Text) if isinstance(column.type, DateTime) else column
            for column in table.columns
        )
    )
    is_timestamp = [isinstance(column.type, DateTime) for column in table.columns]
    return [
        [
            _Undecodable(value.encode()) if check and not _has_datetime(value) else value
            for value, check in zip(row, is_timestamp, strict=True)
        ]
        for row in connection.execute(as_text)
    ]


def _has_datetime(text: str | None) -> bool:
    try:
        if text is not None:
            datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _plain(value: object) -> object:
    """Return a key as an error shows it: text if it decodes, else bytes."""
    return bytes(value) if isinstance(value, _Undecodable) else value
