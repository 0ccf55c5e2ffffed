"""Merge the results of an export's twelve queries into emission order."""

# Parents and children leave the database in the same order. A merge therefore holds one chunk of a
# result and never a whole table: memory does not grow with the run. The loops below run once for
# each record and take 5 % of an export's time.

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.integrity import locate
from elspeth.core.landscape.export.order_check import OrderCheck
from elspeth.core.landscape.export.queries import WHOLE, Partition, Statement, export_statements
from elspeth.core.landscape.export.record_types import FetchedRow, RecordType
from elspeth.core.landscape.export.snapshot import ReadSnapshot

T = TypeVar("T")
RendererFactory: TypeAlias = Callable[[RecordType], Callable[[Sequence[FetchedRow]], Iterable[T]]]
"""For a record type: the function that renders a chunk of rows, as dicts or as encoded lines."""
Rendered: TypeAlias = tuple[Any, Any, T]
"""A parent's id, the record's own id, and the rendered record."""

_RECORD = itemgetter(2)


def merge_records(
    snapshot: ReadSnapshot,
    run_id: str,
    renderer_for: RendererFactory[T],
    partition: Partition = WHOLE,
) -> Iterator[T]:
    """Yield all records of a run, rendered, in emission order.

    Args:
        snapshot: The snapshot to read from.
        run_id: The run.
        renderer_for: Renders the rows.
        partition: The part of the run to read.

    Raises:
        RunNotFoundError: There is no such run, and the partition opens the export.
        CorruptAuditDataError: A stored value must not be exported, or a child came out of order.
    """
    return _Merge(snapshot, run_id, renderer_for, partition).records()


class _Merge(Generic[T]):
    """The results of one export's queries, and the order in which they are consumed."""

    def __init__(
        self,
        snapshot: ReadSnapshot,
        run_id: str,
        renderer_for: RendererFactory[T],
        partition: Partition,
    ) -> None:
        self._snapshot = snapshot
        self._run_id = run_id
        self._renderer_for = renderer_for
        self._partition = partition
        self._statements = export_statements(run_id, partition)

    def records(self) -> Iterator[T]:
        if self._partition.opens:
            yield from self._opening()
        yield from self._row_tree()
        if self._partition.closes:
            yield from self._batch_tree()
            yield from self._all(records.ARTIFACT)

    def _opening(self) -> Iterator[T]:
        """Yield the run, its nodes and its edges."""
        run = next(self._all(records.RUN), None)
        if run is None:
            raise RunNotFoundError(self._run_id)
        yield run
        yield from self._all(records.NODE)
        yield from self._all(records.EDGE)

    def _row_tree(self) -> Iterator[T]:
        """Yield rows, tokens, and the parents, states, events and calls of the tokens."""
        # Six results are open at once, on one connection. A query is sent at the first next() of
        # its stream, so the first record does not wait for all six.
        tokens = self._children(records.TOKEN, "row_id", "token_id")
        parents = self._children(records.TOKEN_PARENT, "token_id")
        states = self._children(records.NODE_STATE, "token_id", "state_id")
        events = self._children(records.ROUTING_EVENT, "state_id")
        calls = self._children(records.CALL, "state_id")
        for _, row_id, row in self._stream(records.ROW, "row_id"):
            yield row
            for _, token_id, token in tokens.of(row_id):
                yield token
                yield from parents.records_of(token_id)
                for _, state_id, state in states.of(token_id):
                    yield state
                    yield from events.records_of(state_id)
                    yield from calls.records_of(state_id)
        # Checked in every export: a child that no parent has claimed must not be left out silently.
        for stream in (tokens, parents, states, events, calls):
            stream.check_exhausted()

    def _batch_tree(self) -> Iterator[T]:
        """Yield batches; below a batch its members."""
        members = self._children(records.BATCH_MEMBER, "batch_id")
        for _, batch_id, batch in self._stream(records.BATCH, "batch_id"):
            yield batch
            yield from members.records_of(batch_id)
        members.check_exhausted()

    def _all(self, record_type: RecordType) -> Iterator[T]:
        return map(_RECORD, self._stream(record_type, record_type.fields[0]))

    def _children(
        self, record_type: RecordType, parent_field: str, own_field: str | None = None
    ) -> "_Children[T]":
        stream = self._stream(record_type, own_field or record_type.fields[0], parent_field)
        return _Children(record_type, parent_field, stream)

    def _stream(
        self, record_type: RecordType, own_field: str, parent_field: str | None = None
    ) -> Iterator[Rendered[T]]:
        """Send a table's query at the first `next()`, and stream its rendered rows."""
        statement = self._statements[record_type]
        render = self._renderer_for(record_type)
        own_id = itemgetter(record_type.position(own_field))
        parent_id = itemgetter(record_type.position(parent_field or own_field))
        order = OrderCheck(record_type, parent_field) if record_type.sorted_by else None
        for rows in _chunks(self._snapshot, record_type, statement):
            # zip over maps takes the ids of a chunk in C, without a loop in Python.
            yield from zip(map(parent_id, rows), map(own_id, rows), render(rows), strict=True)
            # After the records are rendered: a value that is refused is named first.
            if order is not None:
                order.check(rows)


class _Children(Generic[T]):
    """The records of a child table, parent by parent, in the order of its query."""

    def __init__(
        self, record_type: RecordType, parent_field: str, stream: Iterable[Rendered[T]]
    ) -> None:
        self._record_type = record_type
        self._parent_field = parent_field
        self._groups = groupby(stream, key=itemgetter(0))
        self._parent: object = None
        self._group: Iterable[Rendered[T]] = ()
        self._is_consumed = True

    def of(self, parent_id: object) -> Iterable[Rendered[T]]:
        """Return the children of a parent. The caller has consumed those returned before."""
        # groupby discards a group when it advances. The next group belongs to this parent, or to a
        # later one: then this parent has no children, and the group is kept for its parent.
        if self._is_consumed:
            self._advance()
        if self._parent != parent_id or parent_id is None:
            return ()
        self._is_consumed = True
        return self._group

    def records_of(self, parent_id: object) -> Iterable[T]:
        """Return the rendered records of a parent's children, without their ids."""
        return map(_RECORD, self.of(parent_id))

    def check_exhausted(self) -> None:
        """Raise CorruptAuditDataError for a child whose parent never came."""
        # The query of a child joins its parents, so every child has one. A child can be left over
        # only if the two queries returned different orders, as a damaged index makes them do.
        if self._is_consumed:
            self._advance()
        if self._parent is not None:
            raise CorruptAuditDataError(
                self._record_type.table.name,
                {self._record_type.fields[0]: next(iter(self._group))[1]},
                self._parent_field,
                f"names the parent {self._parent!r}, which did not come in the same order; is an "
                "index of the database damaged? Check with PRAGMA integrity_check, or REINDEX",
            )

    def _advance(self) -> None:
        self._parent, self._group = next(self._groups, (None, ()))
        self._is_consumed = False


def _chunks(
    snapshot: ReadSnapshot, record_type: RecordType, statement: Statement
) -> Iterator[Sequence[FetchedRow]]:
    try:
        yield from snapshot.chunks(statement)
    except DBAPIError as error:
        corruption = locate(snapshot.connection, record_type.table, statement)
        if corruption is None:
            raise
        raise corruption from error
