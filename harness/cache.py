"""Cache: large generated runs kept as SQLite files, each found again by what it holds."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.schema import metadata
from harness.generator import Progress, generate_run
from harness.spec import RunSpec

DEFAULT_MAX_BYTES = 20 * 2**30
"""Room for two of the largest agreed runs."""

_DATABASE, _NOTES = "run.db", "entry.json"
_UNFINISHED = ".unfinished-"
_OURS = re.compile(r"(\.unfinished-)?[0-9a-f]{32}")
"""The names of our directories; whatever else a folder holds is left alone."""

_SECONDS_OF_SILENCE = 600
"""A writer that has written nothing for so long is gone."""

_MEANING = ("facts", "features", "generating", "pools", "spec")
"""The modules and packages that decide what a spec means."""


@dataclass(frozen=True)
class CachedRun:
    """A run in the cache: a directory of its own, with the database and what was noted of it."""

    directory: Path
    spec: RunSpec
    records: int
    size_bytes: int
    digest: str
    """Of the database file."""

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Read an entry; None where there is none, or its notes make no sense."""
        try:
            notes = json.loads((directory / _NOTES).read_text(encoding="utf-8"))
            spec = RunSpec.from_json(json.dumps(notes["spec"]))
            return cls(directory, spec, notes["records"], notes["size_bytes"], notes["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self.directory / _DATABASE

    @property
    def used_at(self) -> float:
        """When it was last asked for, in seconds since the epoch; 0 once it is gone."""
        return _changed_at(self.directory / _NOTES)

    @property
    def is_sound(self) -> bool:
        """Whether the file is, to the byte, the one that was stored."""
        try:
            return _digest(self.path) == self.digest
        except FileNotFoundError:
            return False

    def mark_used(self) -> None:
        """Make it the most recently used, so that it is the last to go."""
        (self.directory / _NOTES).touch()


def default_cache() -> Path:
    """Return this user's cache folder, which the XDG base directory specification places."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # "All paths set in these environment variables must be absolute"; others are to be ignored.
    return (given if given.is_absolute() else Path.home() / ".cache") / "elspeth-harness" / "runs"


def cached_run(
    spec: RunSpec,
    *,
    cache: Path | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    progress: Progress | None = None,
) -> Path:
    """Return an SQLite file that holds the run of a spec: from the cache, or generated into it.

    What is there is held against its digest, and generated anew if it differs. The least recently
    used runs make room for a new one, which stays whatever its size. Any number of processes may
    share a cache: an entry comes and goes whole. Open the file read-only, or take a copy: others
    read it too.
    """
    cache = cache or default_cache()
    directory = cache / run_key(spec)
    entry = CachedRun.read(directory)
    if entry and entry.is_sound:
        entry.mark_used()
        return entry.path
    if directory.exists():
        _remove(directory)
    _store(spec, directory, progress)
    _make_room(cache, max_bytes, keep=directory)
    return directory / _DATABASE


def cached_runs(cache: Path) -> list[CachedRun]:
    """List the runs of a cache, most recently used first; a folder that is missing has none."""
    found = (CachedRun.read(directory) for directory in _directories(cache))
    return sorted((each for each in found if each), key=lambda each: each.used_at, reverse=True)


def clear_cache(cache: Path) -> int:
    """Remove all but what is being written just now; return how many bytes that freed."""
    freed = 0
    for directory in _directories(cache):
        if not _is_being_written(directory):
            freed += sum(file.stat().st_size for file in directory.iterdir())
            _remove(directory)
    return freed


def run_key(spec: RunSpec) -> str:
    """Name what is kept for a spec: with other tables or another generator, it is another run."""
    digest = hashlib.sha256(spec.to_json().encode())
    for statement in _schema():
        digest.update(statement.encode())
    for path in _files_of_meaning():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _schema() -> Iterator[str]:
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=sqlite.dialect()))
        indexes = [
            str(CreateIndex(each).compile(dialect=sqlite.dialect())) for each in table.indexes
        ]
        yield from sorted(indexes)


def _files_of_meaning() -> Iterator[Path]:
    here = Path(__file__).parent
    yield here / "pools.json"
    for name in _MEANING:
        yield from sorted((here / name).glob("*.py")) or [here / f"{name}.py"]


def _store(spec: RunSpec, directory: Path, progress: Progress | None) -> None:
    """Write beside, then rename; who finds that another was faster leaves the other's."""
    unfinished = directory.with_name(f"{_UNFINISHED}{uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        _write(spec, unfinished, progress)
        unfinished.rename(directory)
    except OSError:
        if not directory.exists():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(spec: RunSpec, directory: Path, progress: Progress | None) -> None:
    path = directory / _DATABASE
    with LandscapeDB(f"sqlite:///{path}") as db:
        records = generate_run(db, spec, progress=progress).cardinalities.records
    # With a write-ahead log, even readers would write files beside it.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    path.chmod(0o444)
    notes = {
        "spec": json.loads(spec.to_json()),
        "records": records,
        "size_bytes": path.stat().st_size,
        "digest": _digest(path),
    }
    (directory / _NOTES).write_text(json.dumps(notes, indent=2), encoding="utf-8")


def _make_room(cache: Path, max_bytes: int, *, keep: Path) -> None:
    room = max_bytes
    for entry in cached_runs(cache):
        if entry.size_bytes <= room or entry.directory == keep:
            room -= entry.size_bytes
        else:
            _remove(entry.directory)
    for directory in _directories(cache):
        if CachedRun.read(directory) is None and not _is_being_written(directory):
            _remove(directory)


def _directories(cache: Path) -> list[Path]:
    if not cache.is_dir():
        return []
    return [each for each in cache.iterdir() if _OURS.fullmatch(each.name) and each.is_dir()]


def _is_being_written(directory: Path) -> bool:
    if not directory.name.startswith(_UNFINISHED):
        return False
    last = max(map(_changed_at, [directory, *directory.iterdir()]))
    return time.time() - last < _SECONDS_OF_SILENCE


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(directory: Path) -> None:
    """Remove an entry whole: who looks meanwhile finds it, or nothing."""
    doomed = directory.with_name(f"{_UNFINISHED}{uuid4().hex}")
    try:
        directory.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
