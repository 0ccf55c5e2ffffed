"""What a command loads before it runs, and what it does when its streams are closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command
from sample_run import KEY, record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE

HEAVY = frozenset(
    {
        *("sqlalchemy", "pydantic", "orjson", "yaml", "multiprocessing", "asyncio"),
        *(
            "hypothesis",
            "faker",
            "matplotlib",
            "jinja2",
            "numpy",
            "sqlglot",
            "pytest",
            "querygrowth",
        ),
    }
)
"""Packages that take long to load."""

SCRIPT = """
import sys
from {module} import main
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print(code, *sorted({{name.partition('.')[0] for name in sys.modules}}), file=sys.stderr)
ours = sorted(name for name in sys.modules if name.startswith(("elspeth", "harness")))
print(*ours, file=sys.stderr)
"""


def loaded(module: str, *arguments: object) -> tuple[set[str], set[str]]:
    """Return the packages that a call has loaded at its end, and our modules."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, KEY_VARIABLE: KEY.decode()},
    )
    packages, modules = ended.stderr.splitlines()[-2:]
    code, *names = packages.split()
    assert code == "0", ended
    return set(names), set(modules.split())


@pytest.mark.parametrize(("module", "most"), [("elspeth.cli.main", 10), ("harness.cli.main", 12)])
def test_the_help_loads_nothing_that_only_a_command_needs(module: str, most: int) -> None:
    packages, modules = loaded(module, "--help")

    assert packages & HEAVY == set()
    assert len(modules) <= most, modules


def test_verifying_loads_no_recorder_exporter_settings_or_attestation(tmp_path: Path) -> None:
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        record_sample_run(LandscapeRecorder(db))
        LandscapeExporter(db, KEY).write_jsonl("run-1", tmp_path / "run.jsonl", sign=True)
    packages, modules = loaded("elspeth.cli.main", "verify", tmp_path / "run.jsonl")

    assert packages & HEAVY - {"orjson", "asyncio", "pydantic"} == set()
    for part in ("export", "store", "attestation", "pipeline", "output", "recorder", "database"):
        assert not [name for name in modules if name.startswith(f"elspeth.core.landscape.{part}")]
    assert "elspeth.core.settings" not in modules


def test_exporting_to_a_path_loads_no_settings_and_no_attestation(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db))
    arguments = ("--db", url, "--run", "latest", "--output", tmp_path / "run.jsonl", "--sign")
    packages, modules = loaded("elspeth.cli.main", "export", *arguments)

    assert "yaml" not in packages
    for part in ("landscape.attestation", "landscape.pipeline"):
        assert not [name for name in modules if name.startswith(f"elspeth.core.{part}")]
    assert "elspeth.core.settings" not in modules


def test_every_public_name_is_found_at_its_first_use() -> None:
    import elspeth.core.landscape as package

    for name in package.__all__:
        found = getattr(package, name)
        assert name in (getattr(found, "__name__", name), f"{getattr(found, 'name', '')}_table")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


CLOSED = """
import os, sys
for number in map(int, sys.argv[1]):
    os.close(number)
os.execv(sys.argv[2], sys.argv[2:])
"""
MAIN = "from elspeth.cli.main import main; main()"


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_a_closed_stream_is_reported_before_any_work_and_never_replaced_by_the_export(
    sqlite: str, folder: Path, closed: str
) -> None:
    target = folder / "run.jsonl"
    arguments = ("export", "--run", "latest", "--db", sqlite, "--output", str(target))
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED, closed, sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )

    if "1" in closed:
        shown = "error: standard output is closed; redirect it to a file or /dev/null\n"
        assert (ended.returncode, ended.stderr) == (3, "" if "2" in closed else shown)
        assert list(folder.iterdir()) == []
    else:
        assert (ended.returncode, ended.stderr) == (0, "")
        assert target.read_bytes().startswith(b"{")
        assert target.read_bytes().endswith(b"}\n")


def test_a_run_with_the_id_latest_is_not_taken_for_the_newest(
    landscape: Command, sqlite_url: str, folder: Path
) -> None:
    with LandscapeDB(sqlite_url) as db:
        record_sample_run(LandscapeRecorder(db), "latest")
        record_sample_run(LandscapeRecorder(db), "newer")
    shared = ("--db", sqlite_url, "--output", folder / "run.jsonl")
    refused = landscape("export", "--run", "latest", *shared)
    exported = landscape("export", "--run", "id:latest", *shared)

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "error: --run latest: an older run has the id 'latest'; write id:latest for it, or the id "
        "of the newest, 'newer'\n"
    )
    assert exported.code == 0
    assert exported.out.startswith("latest: ")


@pytest.mark.parametrize("at", ["command", "explanation"])
def test_a_library_that_cannot_be_loaded_is_one_line_of_error(at: str) -> None:
    # As the loader raises it where memory is short. It may also be short where the kinds of errors
    # are imported to explain the first error.
    program = f"""
import sys, typer
from elspeth.cli.runtime import run_command
app = typer.Typer()
@app.callback(invoke_without_command=True)
def fail():
    if {at!r} == "explanation":
        sys.modules["sqlalchemy.exc"] = None
        raise RuntimeError("first")
    raise ImportError("x.so: failed to map segment", name="x", path="/lib/x.so")
run_command(app, "landscape")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
