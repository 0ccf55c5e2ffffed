"""What the audit trail is built on: canonical JSON, settings and the Landscape itself."""

from elspeth.core.canonical import CANONICAL_VERSION, canonical_json, stable_hash

__all__ = ["CANONICAL_VERSION", "canonical_json", "stable_hash"]
