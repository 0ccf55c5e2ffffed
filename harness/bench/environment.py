"""The environment of a measurement: the machine, the versions and the git revision.

Times are compared on one machine only, work counts under the same versions only.
"""

import hashlib
import os
import platform
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.bench.revisions import UNKNOWN, commit_of


@dataclass(frozen=True)
class Environment:
    """Where something was measured.

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

    @property
    def machine(self) -> str:
        """What times depend on, as one key."""
        return f"{self.cpu}, {self.cores} cores, {self.system}"

    @property
    def software(self) -> str:
        """What exact counts of work depend on, as one key."""
        return f"{self.database}, CPython {'.'.join(self.python.split('.')[:2])}"

    def differences_in_machine(self, other: "Environment") -> tuple[str, ...]:
        """Why times of the two cannot be compared; empty when they can."""
        parts = ("cpu", "cores", "system", "python", "database")
        return tuple(
            f"{name}: {getattr(self, name)} and {getattr(other, name)}"
            for name in parts
            if getattr(self, name) != getattr(other, name)
        )


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
        lock_digest=_digest(f"{each.name}=={each.version}" for each in distributions()),
    )


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
