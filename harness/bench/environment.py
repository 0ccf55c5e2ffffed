"""Environment: the machine, versions and revision that an invocation measured on."""

import hashlib
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path

from elspeth.core.landscape import LandscapeDB

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Environment:
    """Where something was measured. `cores` are those this process may use.

    `commit` is the checkout's revision, ending in "+changes" when files differ from it.
    `lock_digest` is a hash over every installed distribution and its version.
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

    @property
    def machine(self) -> str:
        """What times depend on: only times of one machine may be set against each other."""
        return f"{self.cpu}, {self.cores} cores, {self.system}"

    @property
    def software(self) -> str:
        """What exact counts of work depend on, as one key."""
        return f"{self.database}, CPython {'.'.join(self.python.split('.')[:2])}"

    def differences_in_machine(self, other: "Environment") -> tuple[str, ...]:
        """Why times of the two cannot be set against each other; empty when they can."""
        parts = ("cpu", "cores", "system", "python", "database")
        return tuple(
            f"{name}: {getattr(self, name)} and {getattr(other, name)}"
            for name in parts
            if getattr(self, name) != getattr(other, name)
        )


def describe_environment(db: LandscapeDB, checkout: Path) -> Environment:
    """Describe this process, the database it measures on, and the checkout it runs."""
    return Environment(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        sqlalchemy=version("sqlalchemy"),
        driver=db.engine.dialect.driver,
        database=_database(db),
        commit=commit_of(checkout),
        lock_digest=_digest(f"{each.name}=={each.version}" for each in distributions()),
    )


def commit_of(checkout: Path) -> str:
    """The revision a checkout is at, "+changes" added when it differs; "unknown" without git."""
    revision = _git(checkout, "rev-parse", "HEAD")
    if revision is None:
        return UNKNOWN
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+changes" if changed else revision


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words, and a path
            ["git", "-C", str(checkout), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or UNKNOWN)


def _database(db: LandscapeDB) -> str:
    if db.engine.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    with db.connection() as connection:
        found = connection.dialect.server_version_info or ()
    return f"PostgreSQL {'.'.join(map(str, found))}"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
