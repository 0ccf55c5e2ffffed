"""The core of elspeth: canonical JSON, settings and the audit trail.

The three names of canonical JSON are also available from `elspeth.core`.
"""

from elspeth.core.canonical import CANONICAL_VERSION, canonical_json, stable_hash

__all__ = ["CANONICAL_VERSION", "canonical_json", "stable_hash"]
