"""Records what comes out of many tokens: batches with their members, and artifacts."""

from elspeth.contracts.enums import BatchStatus
from elspeth.contracts.models import Artifact, Batch, BatchMember
from elspeth.core.landscape.schema import artifacts_table, batch_members_table, batches_table
from elspeth.core.landscape.store.writer import LandscapeWriter, Values, given

_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED)


class BatchRecorder(LandscapeWriter):
    """Writes batches, batch members and artifacts."""

    def create_batch(
        self,
        run_id: str,
        aggregation_node_id: str,
        *,
        batch_id: str | None = None,
        attempt: int = 0,
    ) -> Batch:
        """Record a batch that is being filled."""
        batch = Batch(
            batch_id=batch_id or self._new_id(),
            run_id=run_id,
            aggregation_node_id=aggregation_node_id,
            attempt=attempt,
            status=BatchStatus.DRAFT,
            created_at=self._clock(),
        )
        self._insert(batches_table, batch)
        return batch

    def add_batch_member(self, batch_id: str, token_id: str, ordinal: int) -> BatchMember:
        """Record a token's place in a batch."""
        member = BatchMember(batch_id, token_id, ordinal)
        self._insert(batch_members_table, member)
        return member

    def update_batch_status(
        self,
        batch_id: str,
        status: BatchStatus | str,
        *,
        trigger_reason: str | None = None,
        state_id: str | None = None,
    ) -> None:
        """Record how far a batch got; ending it sets completed_at. What is not given is kept."""
        status = BatchStatus(status)
        values: Values = {"status": status.value}
        if status in _ENDED:
            values["completed_at"] = self._clock()
        self._update_batch(batch_id, values, trigger_reason, state_id)

    def complete_batch(
        self,
        batch_id: str,
        status: BatchStatus | str,
        *,
        trigger_reason: str | None = None,
        state_id: str | None = None,
    ) -> Batch:
        """Record that a batch ends now, and read it back. What is not given is kept.

        AssertionError when the batch is unknown.
        """
        values: Values = {"status": BatchStatus(status).value, "completed_at": self._clock()}
        self._update_batch(batch_id, values, trigger_reason, state_id)
        batch = self.get_batch(batch_id)
        if batch is None:
            raise AssertionError(f"Cannot complete batch {batch_id!r}: no such batch")
        return batch

    def retry_batch(self, batch_id: str) -> Batch:
        """Record a further attempt at a failed batch, with the same members.

        ValueError when the batch is unknown or has not failed.
        """
        failed = self.get_batch(batch_id)
        if failed is None:
            raise ValueError(f"Batch not found: {batch_id}")
        if failed.status is not BatchStatus.FAILED:
            raise ValueError(f"Can only retry failed batches: {batch_id} is {failed.status.value}")
        retry = self.create_batch(
            failed.run_id, failed.aggregation_node_id, attempt=failed.attempt + 1
        )
        for member in self.get_batch_members(batch_id):
            self.add_batch_member(retry.batch_id, member.token_id, member.ordinal)
        return retry

    def register_artifact(
        self,
        run_id: str,
        state_id: str,
        sink_node_id: str,
        artifact_type: str,
        path: str,
        content_hash: str,
        size_bytes: int,
        *,
        artifact_id: str | None = None,
    ) -> Artifact:
        """Record something that a sink wrote."""
        artifact = Artifact(
            artifact_id=artifact_id or self._new_id(),
            run_id=run_id,
            produced_by_state_id=state_id,
            sink_node_id=sink_node_id,
            artifact_type=artifact_type,
            path_or_uri=path,
            content_hash=content_hash,
            size_bytes=size_bytes,
            created_at=self._clock(),
        )
        self._insert(artifacts_table, artifact)
        return artifact

    def _update_batch(
        self, batch_id: str, values: Values, trigger_reason: str | None, state_id: str | None
    ) -> None:
        values |= given(
            trigger_reason=trigger_reason or None, aggregation_state_id=state_id or None
        )
        self._update(batches_table, batches_table.c.batch_id == batch_id, values)
