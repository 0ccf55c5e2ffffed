"""BatchRecorder: record the batches of aggregations, their members and retries."""

from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from elspeth.contracts.enums import BatchStatus
from elspeth.contracts.errors import RecordingError, UnknownEntityError
from elspeth.contracts.models import Batch, BatchMember
from elspeth.core.landscape.schema import (
    batch_members_table,
    batches_table,
    node_states_table,
    nodes_table,
    runs_table,
    tokens_table,
)
from elspeth.core.landscape.store.references import Reference
from elspeth.core.landscape.store.writer import (
    LandscapeWriter,
    Values,
    insert_models,
    refuse_unexportable,
    without_none,
)

_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED)
_BEFORE = {
    BatchStatus.DRAFT: (BatchStatus.DRAFT,),
    BatchStatus.EXECUTING: (BatchStatus.DRAFT, BatchStatus.EXECUTING),
    BatchStatus.COMPLETED: (BatchStatus.DRAFT, BatchStatus.EXECUTING),
    BatchStatus.FAILED: (BatchStatus.DRAFT, BatchStatus.EXECUTING),
}
"""By status: those that a batch may have before it. A batch that has ended keeps its status."""


class BatchRecorder(LandscapeWriter):
    """Writes batches and their members."""

    def create_batch(
        self,
        run_id: str,
        aggregation_node_id: str,
        *,
        batch_id: str | None = None,
        attempt: int = 0,
    ) -> Batch:
        """Record a batch that is being filled.

        Args:
            run_id: The run.
            aggregation_node_id: The node that fills it.
            batch_id: The id, or None for a new one.
            attempt: The number of the attempt at the batch, from 0.
        """
        batch = Batch(
            batch_id=batch_id or self._new_id(),
            run_id=run_id,
            aggregation_node_id=aggregation_node_id,
            attempt=attempt,
            status=BatchStatus.DRAFT,
            created_at=self._clock(),
        )
        self._insert(
            batches_table,
            batch,
            Reference(runs_table, run_id),
            Reference(nodes_table, aggregation_node_id),
        )
        return batch

    def add_batch_member(self, batch_id: str, token_id: str, ordinal: int) -> BatchMember:
        """Record a token's place in a batch.

        Raises:
            RecordingError: The batch has ended, or the token is of another run.
        """
        member = BatchMember(batch_id, token_id, ordinal)
        references = (Reference(batches_table, batch_id), Reference(tokens_table, token_id))
        with self._db.connection() as connection:
            self._refuse_mixed_runs(connection, references)
            # First the insert, which locks an SQLite file, then the status: no other process can
            # end the batch in between. On PostgreSQL FOR UPDATE locks the batch.
            insert_models(connection, {batch_members_table: [member]})
            status = _status_of(connection, batch_id)
            if status is not None and BatchStatus(status) in _ENDED:
                raise RecordingError(
                    f"Cannot add token {token_id!r} to batch {batch_id!r}: it is {status} already"
                )
        return member

    def update_batch_status(
        self,
        batch_id: str,
        status: BatchStatus | str,
        *,
        trigger_reason: str | None = None,
        state_id: str | None = None,
    ) -> None:
        """Record the status of a batch. "completed" and "failed" set completed_at too.

        Args:
            batch_id: The batch.
            status: The status.
            trigger_reason: The reason of the flush; None keeps the stored one.
            state_id: The node state of the aggregation; None keeps the stored one.

        Raises:
            UnknownEntityError: There is no such batch.
            RecordingError: The batch has ended, the status goes backwards, or the node state is of
                another run.
        """
        status = BatchStatus(status)
        values: Values = {"status": status.value}
        if status in _ENDED:
            values["completed_at"] = self._clock()
        self._update_batch(batch_id, status, values, trigger_reason, state_id)

    def complete_batch(
        self,
        batch_id: str,
        status: BatchStatus | str,
        *,
        trigger_reason: str | None = None,
        state_id: str | None = None,
    ) -> Batch:
        """Record that a batch ends now, and return it as stored.

        Args:
            batch_id: The batch.
            status: The final status.
            trigger_reason: The reason of the flush; None keeps the stored one.
            state_id: The node state of the aggregation; None keeps the stored one.

        Raises:
            ValueError: The status is not final.
            UnknownEntityError: There is no such batch.
            RecordingError: The batch has ended already, or the node state is of another run.
        """
        status = BatchStatus(status)
        if status not in _ENDED:
            raise ValueError(
                f"A batch is completed as completed or failed, not as {status.value}: {batch_id!r}"
            )
        values: Values = {"status": status.value, "completed_at": self._clock()}
        self._update_batch(batch_id, status, values, trigger_reason, state_id)
        batch = self.get_batch(batch_id)
        if batch is None:
            raise UnknownEntityError(f"Cannot complete batch {batch_id!r}: no such batch")
        return batch

    def retry_batch(self, batch_id: str) -> Batch:
        """Record another attempt at a failed batch, with the same members, in one transaction.

        Raises:
            ValueError: There is no such batch, or it has not failed.
            RecordingError: The batch has been retried already.
        """
        batches = batches_table.c
        with self._db.connection() as connection:
            # The UPDATE changes nothing. It locks the batch, so that of two processes that retry
            # it, the second one finds the first one's attempt.
            failed = update(batches_table).where(batches.batch_id == batch_id)
            failed = failed.where(batches.status == BatchStatus.FAILED.value)
            if not connection.execute(failed.values(status=BatchStatus.FAILED.value)).rowcount:
                status = _status_of(connection, batch_id)
                if status is None:
                    raise ValueError(f"Batch not found: {batch_id}")
                raise ValueError(f"Can only retry failed batches: {batch_id} is {status}")
            row = connection.execute(
                select(batches_table).where(batches.batch_id == batch_id)
            ).one()
            held = batch_members_table.c
            statement = select(held.token_id, held.ordinal).where(held.batch_id == batch_id)
            members = connection.execute(statement.order_by(held.ordinal)).all()
            _refuse_second_retry(connection, row, members[0].token_id if members else None)
            retry = Batch(
                batch_id=self._new_id(),
                run_id=row.run_id,
                aggregation_node_id=row.aggregation_node_id,
                attempt=row.attempt + 1,
                status=BatchStatus.DRAFT,
                created_at=self._clock(),
            )
            copies = [
                BatchMember(retry.batch_id, member.token_id, member.ordinal) for member in members
            ]
            insert_models(connection, {batches_table: [retry], batch_members_table: copies})
        return retry

    def _update_batch(
        self,
        batch_id: str,
        status: BatchStatus,
        values: Values,
        trigger_reason: str | None,
        state_id: str | None,
    ) -> None:
        # Empty text counts as not given, as in the original.
        values |= without_none(
            trigger_reason=trigger_reason or None, aggregation_state_id=state_id or None
        )
        refuse_unexportable(batches_table, values)
        before = batches_table.c.status.in_([each.value for each in _BEFORE[status]])
        condition = (batches_table.c.batch_id == batch_id) & before
        references = (
            Reference(batches_table, batch_id),
            Reference(node_states_table, state_id or None),
        )
        with self._db.connection() as connection:
            self._refuse_mixed_runs(connection, references)
            # The condition is part of the UPDATE: of two processes that end it, one is refused.
            if connection.execute(update(batches_table).where(condition).values(values)).rowcount:
                return
            stored = _status_of(connection, batch_id)
        if stored is None:
            raise UnknownEntityError(f"Cannot update batch {batch_id!r}: no such batch")
        raise RecordingError(
            f"Cannot set batch {batch_id!r} to {status.value}: it is {stored} already"
        )


def _status_of(connection: Connection, batch_id: str) -> str | None:
    """Return the stored status of a batch, and lock the batch on PostgreSQL."""
    batches = batches_table.c
    statement = select(batches.status).where(batches.batch_id == batch_id)
    return connection.scalar(statement.with_for_update())


def _refuse_second_retry(
    connection: Connection, failed: Row[Any], first_member: str | None
) -> None:
    """Refuse to retry a batch of which there is a retry already.

    Args:
        connection: The transaction of the retry.
        failed: The row of the failed batch.
        first_member: The id of its first member, or None when it has no members.

    Raises:
        RecordingError: At the next attempt there are as many batches like this one as have failed
            at its attempt.
    """
    # No column says which batch another one retries. A retry has the members of that batch, so the
    # batches are told apart by a member; those without members can only be counted.
    batches, held = batches_table.c, batch_members_table.c
    has_member = exists().where(held.batch_id == batches.batch_id)
    alike = ~has_member if first_member is None else has_member.where(held.token_id == first_member)
    count = select(func.count()).where(
        batches.run_id == failed.run_id,
        batches.aggregation_node_id == failed.aggregation_node_id,
        alike,
    )
    failures = connection.scalar(
        count.where(batches.attempt == failed.attempt, batches.status == BatchStatus.FAILED.value)
    )
    retries = connection.scalar(count.where(batches.attempt == failed.attempt + 1))
    if (retries or 0) >= (failures or 0):
        raise RecordingError(
            f"Cannot retry batch {failed.batch_id!r} again: attempt {failed.attempt + 1} is "
            f"recorded already. When it fails, retry it instead"
        )
