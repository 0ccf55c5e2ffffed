"""Records a run, its graph of nodes and edges, and the fate of its export."""

from collections.abc import Mapping

from elspeth.contracts.enums import (
    Determinism,
    ExportStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.models import Edge, Node, Run
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.clock import Clock
from elspeth.core.landscape.schema import edges_table, nodes_table, runs_table
from elspeth.core.landscape.store.writer import LandscapeWriter, Values, given


class RunRecorder(LandscapeWriter):
    """Writes runs, nodes and edges."""

    def begin_run(
        self,
        config: Mapping[str, object],
        canonical_version: str,
        *,
        run_id: str | None = None,
        reproducibility_grade: str | None = None,
        status: RunStatus | str = RunStatus.RUNNING,
    ) -> Run:
        """Record that a run starts now, with its settings and their hash."""
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
        """Record that a run ends now, and read it back. A grade that is not given is kept.

        AssertionError when the run is unknown.
        """
        values: Values = {"status": RunStatus(status).value, "completed_at": self._clock()}
        values |= given(reproducibility_grade=reproducibility_grade)
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
        """Record how far a run's export got; an unknown run changes nothing.

        "completed" sets exported_at and clears the error of an earlier failure. Otherwise what
        is not given is kept.
        """
        values = export_status_values(ExportStatus(status), self._clock, error)
        values |= given(export_format=export_format, export_sink=export_sink)
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
        """Record a plugin's place in the pipeline. Node ids are unique across runs."""
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
        """Record a way from one node to another; a label is unique among a node's edges."""
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


def export_status_values(status: ExportStatus, clock: Clock, error: str | None = None) -> Values:
    """Return the columns of a run that tell how far its export got; the others stay as they are."""
    values: Values = {"export_status": status.value}
    if status is ExportStatus.COMPLETED:
        values |= {"exported_at": clock(), "export_error": None}
    return values | given(export_error=error)
