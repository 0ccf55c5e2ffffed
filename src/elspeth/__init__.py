"""Elspeth: auditable data pipelines. This distribution holds their audit trail, the Landscape."""
