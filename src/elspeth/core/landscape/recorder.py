"""LandscapeRecorder: record a run while a pipeline executes it, and read what was recorded.

Methods for a run, its nodes, edges, batches, artifacts and export status are here. Those for source
rows, tokens, node states, routing events and calls are in `store.tokens`, those that read in
`store.reader`.
"""

from collections.abc import Mapping

from elspeth.contracts.enums import (
    BatchStatus,
    Determinism,
    ExportStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.models import Artifact, Batch, BatchMember, Edge, Node, Run
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.clock import Clock
from elspeth.core.landscape.schema import (
    artifacts_table,
    batch_members_table,
    batches_table,
    edges_table,
    nodes_table,
    runs_table,
)
from elspeth.core.landscape.store.tokens import TokenRecorder
from elspeth.core.landscape.store.writer import Values, without_none

_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED)


class LandscapeRecorder(TokenRecorder):
    """Writes and reads the audit trail; every method commits a transaction.

    A method that takes an enum accepts the member or its text, and raises ValueError for other text
    before it writes. It makes the ids that it is not given. Hashes and stored JSON are canonical.
    A method that begins or registers an entity returns the model as built, with the clock's
    datetime. One that completes an entity returns the model as read from the database.
    """

    # A transaction for each call: an error of the pipeline later on must not undo what was
    # recorded.

    def begin_run(
        self,
        config: Mapping[str, object],
        canonical_version: str,
        *,
        run_id: str | None = None,
        reproducibility_grade: str | None = None,
        status: RunStatus | str = RunStatus.RUNNING,
    ) -> Run:
        """Record that a run starts now, with its settings and their hash.

        Args:
            config: The settings, stored as canonical JSON.
            canonical_version: The name of the canonical form of the hashed texts.
            run_id: The id, or None for a new one.
            reproducibility_grade: The grade, if it is known.
            status: The initial status.
        """
        run = Run(
            run_id=run_id or self._new_id(),
            started_at=self._clock(),
            config_hash=stable_hash(config),
            settings_json=canonical_json(config),
            canonical_version=canonical_version,
            status=RunStatus(status),
            reproducibility_grade=reproducibility_grade,
        )
        self._insert(runs_table, run)
        return run

    def complete_run(
        self,
        run_id: str,
        status: RunStatus | str,
        *,
        reproducibility_grade: str | None = None,
    ) -> Run:
        """Record that a run ends now, and return it as stored.

        Args:
            run_id: The run.
            status: The final status.
            reproducibility_grade: The grade; None keeps the stored one.

        Raises:
            AssertionError: There is no such run.
        """
        values: Values = {"status": RunStatus(status).value, "completed_at": self._clock()}
        values |= without_none(reproducibility_grade=reproducibility_grade)
        self._update(runs_table, runs_table.c.run_id == run_id, values)
        run = self.get_run(run_id)
        if run is None:
            raise AssertionError(f"Cannot complete run {run_id!r}: no such run")
        return run

    def set_export_status(
        self,
        run_id: str,
        status: ExportStatus | str,
        *,
        error: str | None = None,
        export_format: str | None = None,
        export_sink: str | None = None,
    ) -> None:
        """Record the status of a run's export. An unknown run changes nothing.

        "completed" also sets exported_at and clears the error of an earlier failure.

        Args:
            run_id: The run.
            status: The status of the export.
            error: The reason of a failure; None keeps the stored one, like the arguments below.
            export_format: The format of the export.
            export_sink: The sink that the export is written to.
        """
        values = export_status_values(ExportStatus(status), self._clock, error)
        values |= without_none(export_format=export_format, export_sink=export_sink)
        self._update(runs_table, runs_table.c.run_id == run_id, values)

    def register_node(
        self,
        run_id: str,
        plugin_name: str,
        node_type: NodeType | str,
        plugin_version: str,
        config: Mapping[str, object],
        *,
        node_id: str | None = None,
        sequence: int | None = None,
        schema_hash: str | None = None,
        determinism: Determinism | str = Determinism.DETERMINISTIC,
        schema_config: SchemaConfig,
    ) -> Node:
        """Record a plugin's place in the pipeline.

        Args:
            run_id: The run.
            plugin_name: The plugin.
            node_type: The function of the node.
            plugin_version: The plugin's version.
            config: The plugin's settings, stored as canonical JSON with their hash.
            node_id: The id, unique across runs, or None for a new one.
            sequence: The place in the pipeline, if the node has one.
            schema_hash: The hash of the schema, if there is one.
            determinism: Whether the node gives the same result again.
            schema_config: The fields that the node expects.
        """
        fields = [field.to_dict() for field in schema_config.fields or ()] or None
        node = Node(
            node_id=node_id or self._new_id(),
            run_id=run_id,
            plugin_name=plugin_name,
            node_type=NodeType(node_type),
            plugin_version=plugin_version,
            determinism=Determinism(determinism),
            config_hash=stable_hash(config),
            config_json=canonical_json(config),
            registered_at=self._clock(),
            schema_hash=schema_hash,
            sequence_in_pipeline=sequence,
            schema_mode="dynamic" if schema_config.is_dynamic else schema_config.mode,
            schema_fields=fields,
        )
        schema_fields_json = None if fields is None else canonical_json(fields)
        self._insert(nodes_table, node, schema_fields_json=schema_fields_json)
        return node

    def register_edge(
        self,
        run_id: str,
        from_node_id: str,
        to_node_id: str,
        label: str,
        mode: RoutingMode | str,
        *,
        edge_id: str | None = None,
    ) -> Edge:
        """Record an edge of the graph.

        Args:
            run_id: The run.
            from_node_id: The node where the edge begins.
            to_node_id: The node where it ends.
            label: The label, unique among the edges that begin at the node.
            mode: Whether tokens or copies of them take the edge.
            edge_id: The id, or None for a new one.
        """
        edge = Edge(
            edge_id=edge_id or self._new_id(),
            run_id=run_id,
            from_node_id=from_node_id,
            to_node_id=to_node_id,
            label=label,
            default_mode=RoutingMode(mode),
            created_at=self._clock(),
        )
        self._insert(edges_table, edge)
        return edge

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
        """Record the status of a batch. "completed" and "failed" set completed_at too.

        Args:
            batch_id: The batch.
            status: The status.
            trigger_reason: The reason of the flush; None keeps the stored one.
            state_id: The node state of the aggregation; None keeps the stored one.
        """
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
        """Record that a batch ends now, and return it as stored.

        Args:
            batch_id: The batch.
            status: The final status.
            trigger_reason: The reason of the flush; None keeps the stored one.
            state_id: The node state of the aggregation; None keeps the stored one.

        Raises:
            AssertionError: There is no such batch.
        """
        values: Values = {"status": BatchStatus(status).value, "completed_at": self._clock()}
        self._update_batch(batch_id, values, trigger_reason, state_id)
        batch = self.get_batch(batch_id)
        if batch is None:
            raise AssertionError(f"Cannot complete batch {batch_id!r}: no such batch")
        return batch

    def retry_batch(self, batch_id: str) -> Batch:
        """Record another attempt at a failed batch, with the same members.

        Raises:
            ValueError: There is no such batch, or it has not failed.
        """
        failed = self.get_batch(batch_id)
        if failed is None:
            raise ValueError(f"Batch not found: {batch_id}")
        if failed.status is not BatchStatus.FAILED:
            raise ValueError(f"Can only retry failed batches: {batch_id} is {failed.status.value}")
        # A transaction for the batch and one for each member, as in the original: a kill in between
        # leaves a draft batch, which `get_incomplete_batches` lists.
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
        """Record an output of a sink.

        Args:
            run_id: The run.
            state_id: The node state that produced it.
            sink_node_id: The sink.
            artifact_type: The kind of the artifact, such as `csv`.
            path: The path or URI.
            content_hash: The hash of the content.
            size_bytes: The size.
            artifact_id: The id, or None for a new one.
        """
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
        # Empty text counts as not given, as in the original.
        values |= without_none(
            trigger_reason=trigger_reason or None, aggregation_state_id=state_id or None
        )
        self._update(batches_table, batches_table.c.batch_id == batch_id, values)


def export_status_values(status: ExportStatus, clock: Clock, error: str | None = None) -> Values:
    """Return the columns of `runs` to update for a new export status.

    Args:
        status: The status.
        clock: Gives `exported_at` for a completed export.
        error: The reason of a failure; None leaves the column out.
    """
    values: Values = {"export_status": status.value}
    if status is ExportStatus.COMPLETED:
        # A completed export must not keep the error of an earlier attempt.
        values |= {"exported_at": clock(), "export_error": None}
    return values | without_none(export_error=error)
