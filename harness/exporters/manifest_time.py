"""The digest of an export whose manifest has a time that could not be set.

The time and the signature over it are set aside: the manifest is signed again with the time of the
comparison. An export that is otherwise the same then has the control's digest.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import rfc8785

from elspeth.core.clock import Clock


@dataclass(frozen=True)
class ManifestTime:
    """The key that the manifest is signed with, and the clock whose time stands for its own."""

    key: bytes
    clock: Clock

    def set_aside(self, line: bytes) -> bytes:
        """Return the last line of a JSON Lines file with the time of the clock.

        A line that is no canonical manifest, has a wrong signature or another time than one of UTC
        is returned as it is.
        """
        try:
            manifest = json.loads(line)
            if manifest["record_type"] != "manifest" or _encoded(manifest) != line:
                return line
            signature = manifest.pop("signature")
            moment = datetime.fromisoformat(manifest["exported_at"])
            if moment.utcoffset() != timedelta() or signature != self._signature(manifest):
                return line
            manifest["exported_at"] = self.clock().isoformat()
            return _encoded({**manifest, "signature": self._signature(manifest)})
        except (ValueError, TypeError, KeyError, AttributeError):
            return line

    def _signature(self, manifest: dict[str, object]) -> str:
        return hmac.new(self.key, rfc8785.dumps(manifest), hashlib.sha256).hexdigest()  # type: ignore[arg-type]  # checked when it is encoded


def digest_lines(path: Path, manifest: ManifestTime | None = None) -> tuple[str, int]:
    """Return the SHA-256 of a JSON Lines file in hexadecimal digits, and the number of its lines.

    Args:
        path: The file. It is read line by line, since that of a large run does not fit into memory.
        manifest: Sets the time of the manifest aside; default: the file is taken as it is.
    """
    digest, count = hashlib.sha256(), 0
    with path.open("rb") as file:
        for line in _lines(file, manifest):
            digest.update(line)
            count += 1
    return digest.hexdigest(), count


def _lines(lines: Iterable[bytes], manifest: ManifestTime | None) -> Iterator[bytes]:
    last: bytes | None = None
    for line in lines:
        if last is not None:
            yield last
        last = line
    if last is not None:
        yield last if manifest is None else manifest.set_aside(last)


def _encoded(record: dict[str, object]) -> bytes:
    return rfc8785.dumps(record) + b"\n"  # type: ignore[arg-type]  # raises for what it cannot hold
