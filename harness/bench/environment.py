"""The environment of a measurement: machine, versions and git revision, and other revisions.

`describe_environment` describes it. `checked_out` checks another revision out beside the working
tree.
"""

import hashlib
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.exporters.subprocess_probe import Probe

UNKNOWN = "unknown"
_CHANGED = "+changes"


class RevisionError(ValueError):
    """A revision is unknown, or there is no git checkout to take it from."""


@dataclass(frozen=True)
class Environment:
    """The machine, the versions and the revision of a measurement.

    `cores` are those that this process may use. `commit` is the checkout's revision, ending in
    "+changes" when files differ from it. `lock_digest` is a hash over all installed distributions
    and their versions.
    """

    cpu: str
    cores: int
    system: str
    python: str
    sqlalchemy: str
    driver: str
    database: str
    commit: str
    lock_digest: str

    # Times are compared on one machine only, work counts under the same versions only.
    @property
    def machine(self) -> str:
        """The key for times: results of one machine are compared."""
        return f"{self.cpu}, {self.cores} cores, {self.system}"

    @property
    def software(self) -> str:
        """The key for exact counts of work: counts under the same versions are compared."""
        # Without Python's micro version: within a minor version its compiler stays the same.
        return f"{self.database}, CPython {'.'.join(self.python.split('.')[:2])}"


def describe_environment(db: LandscapeDB, checkout: Path) -> Environment:
    """Describe this process, the database that it measures on, and the checkout that it runs."""
    return Environment(
        cpu=_cpu(),
        # The cores of the process, not of the machine: a container may be given fewer.
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        sqlalchemy=version("sqlalchemy"),
        driver=db.engine.dialect.driver,
        database=_database(db),
        commit=commit_of(checkout),
        lock_digest=_lock_digest(),
    )


@dataclass(frozen=True)
class Checkout:
    """The files of one revision, or of the working tree as it is. `commit` may end in +changes."""

    name: str
    commit: str
    directory: Path

    @property
    def has_changes(self) -> bool:
        """Whether files differ from the commit."""
        return self.commit.endswith(_CHANGED)

    def exporter(
        self, reference: str, *, role: str, python: str, src: Path | None = None, database: str = ""
    ) -> Probe:
        """Return a probe of this checkout's exporter.

        Args:
            reference: The exporter as module:attribute.
            role: The name of this side of a comparison, such as "base".
            python: The interpreter.
            src: The folder to import it from, relative to the root; default: `src`, then the root.
            database: What opens its database, as module:attribute; default: its LandscapeDB.
        """
        # Before the installed packages, which hold the working tree's code in a development setup.
        usual = (self.directory / "src", self.directory)
        paths = usual if src is None else (self.directory / src,)
        return Probe(reference, paths, python, database, name=f"{role} {self.name}")


def commit_of(checkout: Path) -> str:
    """The revision of a checkout, with "+changes" when files differ; "unknown" without git."""
    try:
        revision = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except RevisionError:
        return UNKNOWN
    return f"{revision}{_CHANGED}" if changed else revision


def working_tree(directory: Path) -> Checkout:
    """The working tree that a directory is in, with any changes; RevisionError without git."""
    root = Path(_git(directory, "rev-parse", "--show-toplevel"))
    return Checkout("working tree", commit_of(root), root)


@contextmanager
def checked_out(tree: Checkout, revision: str, directory: Path) -> Iterator[Checkout]:
    """Check a revision out into a new directory as a git worktree, and remove it on exit.

    Args:
        tree: A checkout of the same repository.
        revision: A branch, a tag or a commit.
        directory: Must not exist.

    Raises:
        RevisionError: The repository has no such revision.
    """
    commit = _commit(tree, revision)
    # A worktree shares the repository's objects, and leaves the user's files and index alone.
    # Detached, as git refuses to check out a branch that another worktree has.
    _git(tree.directory, "worktree", "add", "--quiet", "--detach", str(directory), commit)
    try:
        yield Checkout(revision, commit, directory)
    finally:
        # Forced: exporters leave compiled files there, which git would not throw away.
        _git(tree.directory, "worktree", "remove", "--force", str(directory))


def _commit(tree: Checkout, revision: str) -> str:
    try:
        # `^{commit}` also keeps a revision that looks like an option from being one.
        return _git(tree.directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except RevisionError:
        raise RevisionError(f"no revision {revision!r} in {tree.directory}") from None


def changed_files(tree: Checkout, base: str) -> tuple[str, ...]:
    """The files that differ from the merge base with `base`; paths are relative to the root.

    From `base` itself where the two have no commit in common, as in a shallow clone.
    """
    found = _commit(tree, base)
    # From the merge base, as later commits on the base branch are not part of this change.
    with suppress(RevisionError):
        found = _git(tree.directory, "merge-base", found, "HEAD")
    return tuple(_git(tree.directory, "diff", "--name-only", found).splitlines())


def _git(directory: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words, a path and a revision, no shell
            ["git", "-C", str(directory), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise RevisionError(f"git cannot be run: {error.strerror}") from error
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise RevisionError(f"git {arguments[0]} failed in {directory}: {said}")
    return answer.stdout.strip()


def _cpu() -> str:
    # platform.processor() is empty, or only the architecture, on most Linux systems.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or UNKNOWN)


def _database(db: LandscapeDB) -> str:
    if db.engine.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    # SQLAlchemy learns the server's version from its first connection.
    with db.connection() as connection:
        found = connection.dialect.server_version_info or ()
    return f"PostgreSQL {'.'.join(map(str, found))}"


@cache
def _lock_digest() -> str:
    # Kept: reading the metadata of a hundred distributions takes 0.2 s, and a bench asks once for
    # each size.
    return _digest(f"{each.name}=={each.version}" for each in distributions())


def _digest(lines: Iterable[str]) -> str:
    # Sorted: the order of installed distributions is that of a folder, not fixed.
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
