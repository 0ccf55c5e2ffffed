"""LandscapeRecorder: record a run while a pipeline executes it, and read what was recorded.

Methods for a run, its nodes, edges, artifacts and export status are here. `store` has the others:
`tokens` for source rows and tokens, `states` for node states, routing events and calls, `batches`,
`row_errors`, `row_lineage` for the data of rows, and `reader` for those that read.
"""

from collections.abc import Mapping

from elspeth.contracts.enums import (
    Determinism,
    ExportStatus,
    NodeType,
    ReproducibilityGrade,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.errors import RecordingError, RunNotFoundError, UnknownEntityError
from elspeth.contracts.models import Artifact, Edge, Node, Run
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.clock import Clock
from elspeth.core.landscape.reproducibility import grade_of
from elspeth.core.landscape.schema import (
    artifacts_table,
    edges_table,
    node_states_table,
    nodes_table,
    runs_table,
)
from elspeth.core.landscape.store.batches import BatchRecorder
from elspeth.core.landscape.store.references import Reference
from elspeth.core.landscape.store.row_errors import RowErrorRecorder
from elspeth.core.landscape.store.row_lineage import RowLineageReader
from elspeth.core.landscape.store.states import StateRecorder
from elspeth.core.landscape.store.tokens import TokenRecorder
from elspeth.core.landscape.store.writer import Values, without_none


class LandscapeRecorder(
    TokenRecorder, StateRecorder, BatchRecorder, RowErrorRecorder, RowLineageReader
):
    """Writes and reads the audit trail; every method commits a transaction.

    A method that takes an enum accepts the member or its text, and raises ValueError for other text
    before it writes. It makes the ids that it is not given. Hashes and stored JSON are canonical.
    A method that begins or registers an entity returns the model as built, with the clock's
    datetime. One that completes an entity returns the model as read from the database.

    What has ended keeps its end, and every reference stays inside one run: a method raises
    RecordingError for a call that would change the one or break the other, and writes nothing.
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
            ValueError: The status is not final.
            UnknownEntityError: There is no such run.
            RecordingError: The run has ended already. Its status and end are evidence.
        """
        ending = RunStatus(status)
        if ending is RunStatus.RUNNING:
            raise ValueError(
                f"A run is completed as completed or failed, not as running: {run_id!r}"
            )
        values: Values = {"status": ending.value, "completed_at": self._clock()}
        values |= without_none(reproducibility_grade=reproducibility_grade)
        # The condition is part of the UPDATE: of two processes that end a run, one is refused.
        runs = runs_table.c
        is_running = (runs.run_id == run_id) & (runs.status == RunStatus.RUNNING.value)
        ended = self._update(runs_table, is_running, values)
        run = self.get_run(run_id)
        if run is None:
            raise UnknownEntityError(f"Cannot complete run {run_id!r}: no such run")
        if not ended:
            raise RecordingError(
                f"Cannot complete run {run_id!r} as {ending.value}: "
                f"it is {run.status.value} already"
            )
        return run

    def finalize_run(self, run_id: str, status: RunStatus | str) -> Run:
        """Record that a run ends now, with the grade of its nodes, and return it as stored.

        Args:
            run_id: The run.
            status: The final status.

        Raises:
            RunNotFoundError: There is no such run.
            ValueError: The status is not final.
            RecordingError: The run has ended already.
        """
        grade = self.compute_reproducibility_grade(run_id)
        return self.complete_run(run_id, status, reproducibility_grade=grade.value)

    def compute_reproducibility_grade(self, run_id: str) -> ReproducibilityGrade:
        """Return how far a run can be reproduced, by the determinism of its nodes.

        Raises:
            RunNotFoundError: There is no such run. Without nodes it would have the best grade.
        """
        if self.get_run(run_id) is None:
            raise RunNotFoundError(run_id)
        return grade_of(self.get_nodes(run_id))

    def set_export_status(
        self,
        run_id: str,
        status: ExportStatus | str,
        *,
        error: str | None = None,
        export_format: str | None = None,
        export_sink: str | None = None,
    ) -> None:
        """Record the status of a run's export.

        "completed" also sets exported_at. "completed" and "pending" clear the error of an earlier
        failure.

        Args:
            run_id: The run.
            status: The status of the export.
            error: The reason of a failure; None keeps the stored one, like the arguments below.
            export_format: The format of the export.
            export_sink: The sink that the export is written to.

        Raises:
            RunNotFoundError: There is no such run.
            ValueError: An error is given with another status than failed.
        """
        values = export_status_values(ExportStatus(status), self._clock, error)
        values |= without_none(export_format=export_format, export_sink=export_sink)
        if not self._update(runs_table, runs_table.c.run_id == run_id, values):
            raise RunNotFoundError(run_id)

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
        columns = {"schema_fields_json": schema_fields_json}
        self._insert(nodes_table, node, columns=columns)
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
        self._insert(
            edges_table,
            edge,
            Reference(runs_table, run_id),
            Reference(nodes_table, from_node_id),
            Reference(nodes_table, to_node_id),
        )
        return edge

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
        self._insert(
            artifacts_table,
            artifact,
            Reference(runs_table, run_id),
            Reference(node_states_table, state_id),
            Reference(nodes_table, sink_node_id),
        )
        return artifact


def export_status_values(status: ExportStatus, clock: Clock, error: str | None = None) -> Values:
    """Return the columns of `runs` to update for a new export status.

    Args:
        status: The status.
        clock: Gives `exported_at` for a completed export.
        error: The reason of a failure; None leaves the column out.

    Raises:
        ValueError: An error is given with another status than failed.
    """
    if error is not None and status is not ExportStatus.FAILED:
        raise ValueError(f"Only a failed export has an error, not a {status.value} one: {error}")
    values: Values = {"export_status": status.value}
    if status is ExportStatus.COMPLETED:
        values["exported_at"] = clock()
    if status is not ExportStatus.FAILED:
        # The error of an earlier attempt must not stay beside another status.
        values["export_error"] = None
    return values | without_none(export_error=error)
