"""The core of elspeth: canonical JSON, settings and the audit trail."""

from elspeth.core.canonical import CANONICAL_VERSION, canonical_json, stable_hash

__all__ = ["CANONICAL_VERSION", "canonical_json", "stable_hash"]
