"""The export after a pipeline run: its destination, its export_status, and its reconciliation."""
