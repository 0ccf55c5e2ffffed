"""Manifest: what of it depends on the clock, and whether its own signature holds."""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from harness.compare.difference import Records
from harness.compare.record_types import MANIFEST


@dataclass(frozen=True)
class Timeless:
    """Records as they are, but the manifest without its moment: for an exporter with no clock."""

    records: Records
    signing_key: bytes

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for record in self.records:
            is_manifest = record.get("record_type") == MANIFEST
            yield timeless(record, self.signing_key) if is_manifest else record


def timeless(manifest: Mapping[str, Any], signing_key: bytes) -> dict[str, Any]:
    """Put a word in the place of a sound moment and of a signature that verifies.

    What is not sound stays as it is, and so differs from a sound manifest.
    """
    result = dict(manifest)
    if is_utc_moment(manifest.get("exported_at")):
        result["exported_at"] = "any moment"
    if is_signed_with(signing_key, manifest):
        result["signature"] = "verifies"
    return result


def is_utc_moment(text: object) -> bool:
    """Whether this is an ISO 8601 moment that says it is UTC."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return False
    return moment.utcoffset() == timedelta(0)


def is_signed_with(key: bytes, record: Mapping[str, Any]) -> bool:
    """Whether a record's signature is the HMAC-SHA256 of its other fields' canonical JSON."""
    unsigned = {name: value for name, value in record.items() if name != "signature"}
    try:
        expected = hmac.new(key, rfc8785.dumps(unsigned), hashlib.sha256).hexdigest()
    except ValueError:  # what has no canonical form has no signature
        return False
    return hmac.compare_digest(expected, str(record.get("signature")))
