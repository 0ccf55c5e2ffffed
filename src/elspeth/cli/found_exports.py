"""Finds the exports in a folder, the attestations kept beside them, and attested exports missing.

Every name of an export counts as one, so that a damaged export is not passed over. Other files are
exports by their content.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from elspeth.core.landscape.verification.csv_files import FILE_NAMES, SPREADSHEET_MARKER
from elspeth.core.landscape.verification.read import opened
from elspeth.core.safe_open import read_small_file

ATTESTATION_SUFFIX = ".attestation.json"
_NAMES = tuple(f"{kind}{end}" for kind in (".jsonl", ".json") for end in ("", ".gz", ".zst"))
_HEAD_BYTES = 2**16
_MOST_ATTESTATION_BYTES = 2**16


@dataclass(frozen=True)
class MissingExport:
    """An export that is not there, beside an attestation that is."""

    path: Path
    attestation: Path

    def __str__(self) -> str:
        return f"{self.path}: missing: its attestation {self.attestation.name} is there"


@dataclass
class FoundExports:
    """What was found at the paths of a command."""

    exports: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    """What is not an export, with the reason."""
    missing: list[MissingExport] = field(default_factory=list)
    kept: defaultdict[Path, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """By export: attestations of its place that stand in the folder under other names."""
    has_folder: bool = False
    """Whether one of the paths is a folder of exports."""


def find_exports(paths: Iterable[Path]) -> FoundExports:
    """Return the exports at some paths: a file, a directory of CSV files, or a folder of exports.

    Raises:
        OSError: A folder cannot be read.
    """
    found = FoundExports()
    for path in dict.fromkeys(paths):
        if _is_folder_of_exports(path):
            found.has_folder = True
            _find_in(path, found)
        else:
            found.exports.append(path)
    found.exports = list(dict.fromkeys(found.exports))
    return found


def _is_folder_of_exports(path: Path) -> bool:
    if not path.is_dir() or _is_csv(path):
        return False
    # A folder without any is judged as an export, which is then empty.
    return any(
        each.name.endswith(ATTESTATION_SUFFIX) or _reason_to_skip(each) is None
        for each in path.iterdir()
    )


def _is_csv(path: Path) -> bool:
    return any((path / name).exists() for name in (*FILE_NAMES, SPREADSHEET_MARKER))


def _find_in(folder: Path, found: FoundExports) -> None:
    entries = sorted(folder.iterdir())
    attestations = [each for each in entries if each.name.endswith(ATTESTATION_SUFFIX)]
    names = set()
    for entry in entries:
        if entry in attestations and not entry.is_dir():
            continue
        reason = _reason_to_skip(entry)
        if reason is None:
            found.exports.append(entry)
            names.add(entry.name)
        else:
            found.skipped.append((entry, reason))
    for path in attestations:
        place = path.name.removesuffix(ATTESTATION_SUFFIX)
        if place in names or path.is_dir():
            continue
        # Not verified: it only tells which export it belongs to.
        stated = _stated_name(path) or place
        if stated in names:
            found.kept[folder / stated].append(path)
        elif "/" in stated or stated in (".", ".."):
            found.missing.append(MissingExport(folder / place, path))
        else:
            found.missing.append(MissingExport(folder / stated, path))


def _reason_to_skip(path: Path) -> str | None:
    """Return why something in a folder is not an export; None for an export."""
    if path.is_dir():
        if (path / SPREADSHEET_MARKER).exists():
            return "a copy for spreadsheets, which is not evidence"
        return None if _is_csv(path) else "a folder without an export in it"
    if not path.is_file():
        # Opening a pipe would wait for a writer.
        return None if path.is_symlink() and path.name.endswith(_NAMES) else "not a regular file"
    if path.name.startswith(".export-"):
        return "an export that is being written, or was cut off"
    if path.name.endswith(_NAMES) or _holds_records(path):
        return None
    return "not an export"


def _holds_records(path: Path) -> bool:
    try:
        with ExitStack() as resources:
            _, content = opened(path, resources)
            head = b"" if content is None else content.read(_HEAD_BYTES)
    except (OSError, ValueError):
        # It may be one: verifying it says what is wrong.
        return True
    return head.lstrip()[:1] in (b"{", b"[") and b'"record_type"' in head


def _stated_name(attestation: Path) -> str | None:
    try:
        envelope = json.loads(read_small_file(attestation, _MOST_ATTESTATION_BYTES))
        statement = json.loads(base64.b64decode(envelope["payload"]))
        name = statement["subject"][0]["name"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and name and "\0" not in name else None
