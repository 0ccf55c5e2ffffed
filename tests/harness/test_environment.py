"""Environment: what was measured where, and whether two of them can be compared."""

import subprocess
from dataclasses import replace
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.bench.environment import UNKNOWN, commit_of, describe_environment


def test_this_environment_is_described_whole(db: LandscapeDB) -> None:
    found = describe_environment(db, Path.cwd())
    assert found.database.startswith(("SQLite 3.", "PostgreSQL 1"))
    assert found.cores >= 1
    assert len(found.lock_digest) == 64
    assert UNKNOWN not in (found.python, found.sqlalchemy, found.driver)


def test_another_cpu_is_another_machine_and_another_commit_is_not() -> None:
    with LandscapeDB.in_memory() as db:
        here = describe_environment(db, Path.cwd())
    elsewhere = replace(here, cpu="another", cores=here.cores + 1)
    assert here.machine == replace(here, commit="other").machine
    assert here.machine != elsewhere.machine


def test_the_commit_says_when_files_differ_from_it(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == UNKNOWN
    identity = ("-c", "user.name=n", "-c", "user.email=e@localhost")
    (tmp_path / "file").write_text("one")
    for words in (("init",), ("add", "file"), (*identity, "commit", "--message", "one")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    assert len(commit_of(tmp_path)) == 40
    (tmp_path / "file").write_text("two")
    assert commit_of(tmp_path).endswith("+changes")
