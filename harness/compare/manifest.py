"""Compare manifests without their time, for an exporter whose clock cannot be set.

The time and the signature of such a manifest are verified instead of compared.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from harness.compare.record_types import MANIFEST, Record, Records


@dataclass(frozen=True)
class WithoutTime:
    """Records whose manifest has placeholders for a valid time and a valid signature."""

    records: Records
    signing_key: bytes

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            is_manifest = record.get("record_type") == MANIFEST
            yield without_time(record, self.signing_key) if is_manifest else record


def without_time(manifest: Record, signing_key: bytes) -> dict[str, Any]:
    """Replace a valid time and a signature that verifies by placeholders.

    A wrong time or signature stays as it is, and so differs from the control's placeholder.
    """
    result = dict(manifest)
    if _is_utc_time(manifest.get("exported_at")):
        result["exported_at"] = "any time"
    if _is_signed(manifest, signing_key):
        result["signature"] = "verifies"
    return result


def signature_of(message: bytes, key: bytes) -> str:
    """Return the HMAC-SHA256 of a message in hexadecimal digits."""
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _is_utc_time(text: object) -> bool:
    """Whether a text is an ISO 8601 time with the offset of UTC."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return False
    return time.utcoffset() == timedelta(0)


def _is_signed(record: Record, key: bytes) -> bool:
    """Whether a record's signature covers the canonical JSON of its other fields."""
    unsigned = {name: value for name, value in record.items() if name != "signature"}
    try:
        expected = signature_of(rfc8785.dumps(unsigned), key)
    except ValueError:  # A value without a canonical form cannot have been signed.
        return False
    return hmac.compare_digest(expected, str(record.get("signature")))
