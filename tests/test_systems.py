"""Other systems: no /proc is asked for where there is none, and Windows is refused by name."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

import landscape_start
from harness.bench import environment
from harness.exporters import child_process
from harness.exporters.probe import measures, process_state


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths below /proc lead nowhere, as on macOS."""

    def path(text: str) -> Path:
        return tmp_path / "absent" if text.startswith("/proc") else Path(text)

    modules: tuple[ModuleType, ...] = (environment, child_process, measures, process_state)
    for module in modules:
        monkeypatch.setattr(module, "Path", path)


@pytest.mark.usefixtures("without_proc")
def test_memory_and_the_state_of_a_process_are_read_without_proc() -> None:
    assert measures.resident_bytes("VmRSS") > 0
    assert measures.resident_bytes("VmHWM") >= measures.resident_bytes("VmRSS")
    assert measures.waited_for_a_core() == 0
    assert process_state._umask() == ""
    assert child_process._processes_of(1, "mark") == {}
    assert environment._cpu()


def test_no_source_reads_proc_without_asking() -> None:
    """Every place that names /proc is known here, with how it goes on where there is none."""
    root = Path(__file__).parents[1]
    named = {
        str(path.relative_to(root))
        for folder in ("src", "harness")
        for path in (root / folder).rglob("*.py")
        if "/proc" in path.read_text(encoding="utf-8")
    }
    assert named == {
        # In a fixture above, without /proc.
        "harness/bench/environment.py",
        "harness/exporters/child_process.py",
        "harness/exporters/probe/measures.py",
        "harness/exporters/probe/process_state.py",
        # Names files there in a comment, and opens none.
        "src/elspeth/core/safe_open.py",
        # Only on Linux; elsewhere psutil answers.
        "harness/bench/postgresql.py",
        # Each catches the OSError: the answer is then "unknown".
        "src/elspeth/core/landscape/sqlite_files.py",
        "src/querygrowth/counting/other_connections.py",
    }


@pytest.mark.parametrize("command", [landscape_start.landscape, landscape_start.harness])
def test_windows_is_refused_by_name(
    command: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(command)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        command()
    monkeypatch.undo()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: landscape and harness run on Linux and macOS, and not on Windows"
    )
