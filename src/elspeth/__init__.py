"""Elspeth: auditable data pipelines. This distribution holds the audit trail, called Landscape."""
