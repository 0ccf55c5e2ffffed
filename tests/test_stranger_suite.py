"""A test suite that has a folder `harness` runs as if nothing of ours were installed."""

import subprocess
import sys
from pathlib import Path

SUITE = """
import sys


def test_its_own_folder_is_imported() -> None:
    import harness

    assert harness.MINE == "the stranger's"


def test_nothing_of_ours_was_imported() -> None:
    ours = ("elspeth", "querygrowth.counting", "sqlalchemy", "sqlglot")
    assert not [name for name in sys.modules if name.startswith(ours)]
"""


def test_a_folder_named_harness_is_the_strangers(tmp_path: Path) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text('MINE = "the stranger\'s"\n')
    (tmp_path / "test_own.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
