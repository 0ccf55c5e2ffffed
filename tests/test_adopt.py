"""Tests of docs/adopt.md: its lines put the batched exporter into the checkout of another team."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_checkout import lay_out

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adopt.md").read_text(encoding="utf-8")

# Reads its own program's arguments, so that nothing of this process reaches the other checkout.
EXPORT = """
import json, sys
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.{module} import LandscapeExporter
from sqlalchemy import event
db = LandscapeDB.from_url(sys.argv[1], create_tables=False)
queries = []
event.listen(db.engine, "before_cursor_execute", lambda *arguments: queries.append(arguments[2]))
records = list(LandscapeExporter(db, signing_key=b"k" * 32).export_run("run", sign=True))
print(json.dumps([len(queries), records], sort_keys=False))
"""

RECORD = """
import sys
from elspeth.contracts import RunStatus
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
recorder = LandscapeRecorder(LandscapeDB(sys.argv[1]))
run_id = recorder.begin_run({}, run_id="run")
source = recorder.register_node(run_id, "csv", "source", 0)
for index in range(20):
    token = recorder.create_token(recorder.create_row(run_id, source, index, {"n": index}))
    recorder.complete_node_state(token, source, 0, {"n": index})
recorder.complete_run(run_id, RunStatus.COMPLETED)
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout of another team."""

    folder: Path

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in the checkout, whose packages come first."""
        environ = os.environ | variables | {"PYTHONPATH": str(self.folder / "src")}
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        done = subprocess.run(
            arguments, env=environ, cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def export(self, module: str, url: str) -> tuple[int, list[dict[str, object]]]:
        """Export a run with a module's exporter, and return the number of queries too."""
        done = self.run(sys.executable, "-c", EXPORT.format(module=module), url)
        queries, records = json.loads(done.stdout)
        return queries, records


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout after the lines of the page, and with the output of its own tests."""
    checkout = Checkout(tmp_path_factory.mktemp("adopt") / "theirs")
    lay_out(checkout.folder)
    (lines,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    done = checkout.run(
        "sh", "-euc", lines, OURS=str(ROOT), THEIRS=str(checkout.folder), PIP_NO_INDEX="1"
    )
    assert re.search(r"\b[1-9]\d* passed", done.stdout), done.stdout
    assert "failed" not in done.stdout
    return checkout


def test_their_exporter_is_ours_in_their_folder(adopted: Checkout) -> None:
    done = adopted.run(
        sys.executable,
        "-c",
        "import sys, elspeth.core.landscape as landscape; print(landscape.LandscapeExporter);"
        "ours = [each for name, each in sys.modules.items() if name.startswith('elspeth')];"
        "print(*(each.__file__ for each in ours), sep='\\n')",
    )
    first, *files = done.stdout.splitlines()
    assert first == "<class 'elspeth.core.landscape.export.exporter.RunExporter'>"
    assert {Path(each).is_relative_to(adopted.folder) for each in files} == {True}


def test_the_records_are_those_of_their_own_exporter_with_far_fewer_queries(
    adopted: Checkout, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    adopted.run(sys.executable, "-c", RECORD, url)
    n_plus_one, expected = adopted.export("n_plus_one_exporter", url)
    queries, records = adopted.export("exporter", url)
    # The manifest has the time of the export.
    assert [list(each.items()) for each in records[:-1]] == [
        list(each.items()) for each in expected[:-1]
    ]
    assert records[-1]["final_hash"] == expected[-1]["final_hash"]
    assert n_plus_one >= 6 + 20 + 2 * 20 + 2 * 20
    assert queries == 12


def test_the_licence_and_all_modules_are_copied(adopted: Checkout) -> None:
    theirs = adopted.folder / "src" / "elspeth" / "core" / "landscape" / "export"
    ours = ROOT / "src" / "elspeth" / "core" / "landscape" / "export"
    copied = {path.name for path in theirs.iterdir()} - {"__pycache__"}
    assert copied == {path.name for path in ours.glob("*.py")} | {"errors.py", "LICENSE"}
    assert (theirs / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_page_names_what_the_folder_imports() -> None:
    for name in ("elspeth.contracts.enums", "elspeth.core.landscape.schema", "orjson", "rfc8785"):
        assert name in PAGE
