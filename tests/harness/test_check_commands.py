"""The commands about checks: `check`, `golden` and `selftest`, by exit code and message."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command

from elspeth.core.landscape import LandscapeDB
from harness import packaged
from harness.checks.check import Check, CheckVerdict
from harness.checks.depth import Depth
from harness.checks.selection import GROUPS, Selection
from harness.cli import check as check_command
from harness.cli.main import COMMANDS, load_command
from harness.compare.difference import SNAPSHOT
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import GROWTH, Outcome, Verdict

pytestmark = pytest.mark.usefixtures("few_growing_runs", "prepared_checks", "forked_exporters")


@pytest.fixture
def stored(sqlite_url: str) -> str:
    """The URL of an SQLite file with the run `run`."""
    with LandscapeDB(sqlite_url) as db:
        generate_run(db, preset("tiny", run_id="run"))
    return sqlite_url


@pytest.mark.parametrize("run", ["run", "latest"])
def test_a_stored_run_is_compared(harness_command: Command, stored: str, run: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", run)
    assert ended.code == 0, ended.err
    first = ended.out.splitlines()[0]
    assert first.split()[:3] == ["passed", "records", "sqlite"]
    assert "  LandscapeExporter: the same export to the byte (99 records)" in first
    assert ended.out.endswith("\npassed 1\n")


def test_a_misspelt_run_is_refused_with_the_nearest(harness_command: Command, stored: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", "rnu")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("audit.db has no run 'rnu'; the nearest is 'run'\n")


@pytest.mark.parametrize("run", ["run", "latest"])
def test_a_database_without_runs_is_refused(
    harness_command: Command, sqlite_url: str, run: str
) -> None:
    LandscapeDB(sqlite_url).close()
    ended = harness_command("check", "--db", sqlite_url, "--run", run)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("audit.db holds no runs\n")


def test_the_limit_of_records_holds_on_a_stored_run(harness_command: Command, stored: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", "run", "--max-records", 1)
    # An export that does not end is a fault of the exporter, and not of the command line.
    assert ended.code == 1
    assert "expected no error, found more than 1 records" in ended.out
    assert "harness check --max-records" in ended.out


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("check", "--db", "STORED", "--run", "run", "--part", "memory"), "--part"),
        (("check", "--db", "STORED", "--run", "run", "--quick"), "--quick"),
        (("check", "--db", "STORED", "--run", "run", "--fail-fast"), "--fail-fast"),
        (("check", "--db", "STORED", "--run", "run", "--chunked", "rows=5"), "--chunked"),
        (("check", "--db", "STORED", "--run", "run", "--all"), "--all"),
        (("check", "--db", "STORED", "--run", "run", "--postgresql", "URL"), "--postgresql"),
        (("check", "--quick", "--all"), "--quick and --all contradict each other"),
        (("selftest", "--quick", "--all"), "--quick and --all contradict each other"),
        (("selftest", "--quick", "--postgresql", "URL"), "--postgresql"),
        (("selftest", "--mutants", "--part", "records"), "--part does not go with --mutants"),
        (("selftest", "--mutants", "--quick"), "--quick does not go with --mutants"),
        (("selftest", "--sample", "5"), "--sample chooses mutants: give --mutants as well"),
        (("selftest", "--resume", "results.jsonl"), "--resume chooses mutants"),
        (("golden", "--update", "--candidate", "mine:Exporter"), "--candidate"),
        (("history", "--output", "out"), "--add"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else each,
)
def test_an_option_that_would_be_ignored_is_refused(
    harness_command: Command, stored: str, arguments: tuple[str, ...], option: str, tmp_path: Path
) -> None:
    names = {"STORED": stored, "URL": "postgresql://localhost/unused", "out": str(tmp_path)}
    ended = harness_command(*(names.get(each, each) for each in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert option in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("check --part recrods", "--part: there is no part 'recrods'; the nearest is 'records'"),
        ("selftest --part byte", "--part: there is no part 'byte'; the nearest is 'bytes'"),
        ("check --part", "'--part' requires an argument"),
        (
            "check --chunked tokens",
            "--chunked: 'tokens': not TABLE=SIZE or TABLE=SIZE:ROWS, with a size of at least 2",
        ),
        ("check --chunked tokens=0", "--chunked: 'tokens=0': not TABLE=SIZE"),
        ("check --chunked tokens=1", "--chunked: 'tokens=1': not TABLE=SIZE"),
        ("check --chunked tokens=-5", "--chunked: 'tokens=-5': not TABLE=SIZE"),
        ("check --chunked tokens=a", "--chunked: 'tokens=a': not TABLE=SIZE"),
        (
            "check --chunked token=500",
            "--chunked: there is no table 'token'; the nearest is 'tokens'",
        ),
        ("check --chunked tokens=5:", "--chunked: there is no table ''"),
        (
            "check --chunked tokens=5:row",
            "--chunked: there is no table 'row'; the nearest is 'rows'",
        ),
        ("check --transactions 0", "'--transactions': Input should be greater than or equal to 1"),
        ("check --transactions many", "'--transactions': Input should be a valid integer"),
        (
            "check --rows-per-record -1",
            "'--rows-per-record': Input should be greater than",
        ),
        (
            "check --rows-per-record nan",
            "'--rows-per-record': Input should be greater than",
        ),
        ("check --rows-per-record inf", "--rows-per-record: inf is not a number of rows"),
        (
            "check --bytes-per-record -1",
            "'--bytes-per-record': Input should be greater than",
        ),
        ("selftest --mutants --shard 3/2", "--shard '3/2': not I/N, with I from 1 to N"),
        ("selftest --mutants --shard 1", "--shard '1': not I/N, with I from 1 to N"),
        ("selftest --mutants --operator drop-rwo", "the nearest is 'drop-row'"),
        ("selftest --mutants --design bathced", "there is no design 'bathced'; the nearest is"),
        ("selftest --mutants --sample 0", "'--sample': Input should be greater than or equal to"),
        ("check --limit 0", "'--limit': Input should be greater than or equal to 1"),
        ("check --limit soon", "'--limit': Input should be a valid number"),
        ("check --max-records 0", "'--max-records': Input should be greater than or equal to 1"),
        ("check --candidate nonsense", "nonsense"),
        ("check --db sqlite:///a.db", "--db and --run go together"),
        ("check --run latest", "--db and --run go together"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_before_any_work(
    harness_command: Command, arguments: str, words: str
) -> None:
    ended = harness_command(*arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_a_check_that_was_asked_for_by_name_and_has_no_server_is_inconclusive(
    harness_command: Command,
) -> None:
    ended = harness_command("check", "--part", "backends")
    assert ended.code == 1, ended.err
    first = ended.out.splitlines()[0]
    assert first.split()[:3] == ["inconclusive", "backends", "sqlite"]
    assert "  LandscapeExporter: not compared with PostgreSQL" in first
    assert ended.out.splitlines()[-1].startswith(
        "inconclusive: LandscapeExporter: not compared with PostgreSQL: there is no server: "
        "inconclusive 1, skipped "
    )


def test_what_was_not_asked_for_is_skipped_and_counted_with_the_reason(
    harness_command: Command,
) -> None:
    ended = harness_command("check", "--part", "plan")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    left_out = len(Check) - 1
    assert [line.split()[0] for line in lines[:2]] == ["passed", "passed"]
    skipped = [line.split()[1] for line in lines if line.startswith("skipped ")]
    assert skipped == [each.value for each in Check if each is not Check.PLAN]
    assert lines[-1].startswith(f"passed 2, skipped {left_out} (records, ")
    assert "search: not asked for: runs with --all" in lines[-1]


def test_the_first_failure_ends_a_check_that_fails_fast(harness_command: Command) -> None:
    exporter = "harness.fixtures.faulty_exporters.output:ExportsNothing"
    ended = harness_command("check", "--quick", "--fail-fast", "--candidate", exporter)
    assert ended.code == 1, ended.err
    assert ended.err == "... records\n"
    lines = ended.out.splitlines()
    assert lines[0].split()[:5] == ["failed", "records", "sqlite", "ExportsNothing:", "vacuous"]
    assert lines[-1].startswith("failed: ExportsNothing: vacuous")
    assert lines[-1].endswith(": failed 1")


def test_one_cause_gives_one_failure_with_what_follows_beneath_it(
    harness_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, other = (CallSite("exporter.py", line, "export") for line in (7, 9))

    def failed(check: Check, seen: str, site: CallSite | None, kind: str = GROWTH) -> CheckVerdict:
        verdict = Verdict("Exporter", Outcome.FAILED, "expected", seen, site=site, kind=kind)
        return CheckVerdict(check, "sqlite", verdict)

    found = [
        failed(Check.QUERIES, "queries grew with rows", loop),
        failed(Check.QUERIES, "queries grew with forks", loop),
        failed(Check.QUERIES, "queries grew with batches", other),
        failed(Check.SNAPSHOT, "not a snapshot", None, SNAPSHOT),
    ]
    monkeypatch.setattr(check_command, "run_selection", lambda *_, **__: found)
    ended = harness_command("check", "--part", "plan")
    assert ended.code == 1, ended.err
    lines = ended.out.splitlines()
    # Every verdict when it is found, and at the end one failure for a cause.
    assert len([each for each in lines if each.startswith("failed  ")]) == 4
    assert [each for each in lines if "as a result: " in each] == [
        "  as a result: growth: Exporter: queries grew with forks (expected: expected)",
        "  as a result: equivalence: Exporter: not a snapshot (expected: expected)",
    ]
    assert [each for each in lines if each.startswith("also failed: ")] == [
        f"also failed: Exporter: queries grew with batches, at {other}"
    ]
    assert lines[-1] == "failed: Exporter: queries grew with rows: failed 2 (and 2 that follow)"


def test_lost_bytes_come_before_costs_in_the_headline(harness_command: Command) -> None:
    exporter = "harness.fixtures.faulty_exporters.output:ExportsNothing"
    ended = harness_command("check", "--part", "queries", "--part", "plan", "--candidate", exporter)
    assert ended.code == 1, ended.err
    assert ended.out.splitlines()[-1].startswith("failed: ExportsNothing: vacuous")


@pytest.mark.usefixtures("many_rows")
def test_declared_chunks_pass_the_check_of_queries(harness_command: Command) -> None:
    tables = ("tokens", "token_parents", "node_states", "routing_events", "calls")
    exporter = "harness.fixtures.correct_exporters.chunked:Chunked"
    declared = [word for table in tables for word in ("--chunked", f"{table}=500")]
    given = ("check", "--quick", "--part", "queries", "--candidate", exporter)
    assert harness_command(*given, "--fail-fast").code == 1
    ended = harness_command(*given, *declared)
    assert ended.code == 0, ended.out


def test_a_failure_of_a_candidate_with_worker_processes_stays_one(harness_command: Command) -> None:
    exporter = "harness.fixtures.faulty_exporters.queries:MembersBatchByBatch"
    given = ("check", "--part", "queries", "--worker-processes", "--candidate", exporter)
    ended = harness_command(*given, "--fail-fast")
    assert ended.code == 1, ended.out
    assert ended.out.splitlines()[-1].startswith("failed: MembersBatchByBatch: queries grew")


@pytest.mark.parametrize("command", ["bench", "gate"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--src", "nosuchdir"), ("'--src'", "'nosuchdir'", "does not exist")),
        (("--src", "HERE"), ("elspeth.core.landscape:LandscapeExporter", "/src/elspeth/", "HERE")),
        (("--python", "nosuch"), ("nosuch cannot be run",)),
        (("--python", "PYTHON", "--candidate", "nosuch:Exporter"), ("No module named 'nosuch'",)),
    ],
    ids=lambda each: " ".join(each),
)
def test_an_exporter_of_another_place_is_looked_up_before_any_work(
    harness_command: Command,
    command: str,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
) -> None:
    names = {"HERE": str(tmp_path), "PYTHON": sys.executable}
    given = [names.get(each, each) for each in arguments]
    ended = harness_command(command, *given, "--output", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    # No step of the work was announced before.
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert all(names.get(word, word) in ended.err for word in words), ended.err


HANGS = """
import time


class Hangs:
    def __init__(self, db, signing_key=None):
        pass

    def export_run(self, run_id, sign=False):
        time.sleep(600)
"""


def test_an_exporter_that_hangs_is_stopped_at_the_limit(
    harness_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exporter_that_hangs.py").write_text(HANGS)
    monkeypatch.chdir(tmp_path)
    candidate = ("--candidate", "exporter_that_hangs:Hangs")
    ended = harness_command("check", "--part", "plan", "--fail-fast", "--limit", 1, *candidate)
    assert ended.code == 1, ended.err
    assert ended.out.splitlines()[-1] == (
        "failed: Hangs: it did not end within 1 s and was stopped: failed 1"
    )


RAISES = """
class AtOnce:
    def __init__(self, db, signing_key=None):
        pass

    def export_run(self, run_id, sign=False):
        raise RuntimeError("out of order")


class WhenMade(AtOnce):
    def __init__(self, db, signing_key=None):
        raise RuntimeError("out of order")
"""


@pytest.mark.parametrize("exporter", ["AtOnce", "WhenMade"])
def test_an_exporter_that_raises_fails_by_its_own_exception(
    harness_command: Command, exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exporters_that_raise.py").write_text(RAISES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    candidate = f"exporters_that_raise:{exporter}"
    parts = ("--part", "records", "--part", "queries")
    ended = harness_command("check", *parts, "--candidate", candidate)
    assert ended.code == 1, ended.err
    # Progress, and no traceback.
    assert all(line.startswith("... ") for line in ended.err.splitlines())
    headline = ended.out.splitlines()[-1]
    assert headline.startswith(f"failed: {exporter}: ")
    assert "RuntimeError" in headline
    assert "RuntimeError: out of order" in ended.out
    assert "FileNotFoundError" not in ended.out
    # The control's costs are still there.
    assert "LegacyLandscapeExporter  " in ended.out
    assert f"{exporter}: left out: it raised RuntimeError: out of order\n" in ended.out


def test_a_file_of_the_working_directory_replaces_no_package_of_the_harness(tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('not the package that was meant')")
    (tmp_path / "exporter_of_this_folder.py").write_text(
        "from elspeth.core.landscape import LandscapeExporter as Exporter"
    )
    # An exporter of this folder, so that its modules are looked up there.
    script = (
        "from harness.cli.candidate import Candidate\n"
        "Candidate('exporter_of_this_folder:Exporter').measured().close()\n"
        "import harness.report.page"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=packaged.child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", ["check", "check --all", "golden --check", "selftest"])
def test_a_server_that_cannot_be_reached_is_named_before_any_work(
    harness_command: Command, arguments: str
) -> None:
    with socket.socket() as taken:
        # Bound, and nothing listens: the connection is refused.
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}/landscape"
        url = f"postgresql://user:secret@{place}"
        ended = harness_command(*arguments.split(), "--postgresql", url)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"error: postgresql://user:***@{place}: database: connection fail")
    assert ended.err.count("\n") == 1
    assert "secret" not in ended.err


@pytest.mark.parametrize("arguments", ["check", "golden --check", "selftest", "selftest --quick"])
@pytest.mark.parametrize("url", ["nonsense:secret", "sqlite:///secret.db"])
def test_a_server_that_is_not_postgresql_is_refused(
    harness_command: Command, arguments: str, url: str
) -> None:
    ended = harness_command(*arguments.split(), "--postgresql", url)
    assert (ended.code, ended.out) == (2, "")
    assert "'--postgresql': not the URL of a server: postgresql://USER" in ended.err
    assert "secret" not in ended.err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_shows_no_path_of_this_machine(harness_command: Command, command: str) -> None:
    ended = harness_command(command, "--help")
    assert ended.code == 0
    assert str(packaged.PACKAGE.parent) not in "".join(ended.out.split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("gate --results RESULTS --output OUT", 0),
        # The one fault of this check is skipped, so that nothing is judged.
        ("selftest --quick --part snapshot", 1),
    ],
)
def test_no_line_of_piped_output_ends_in_blanks(
    harness_command: Command, arguments: str, code: int, tmp_path: Path
) -> None:
    names = {"RESULTS": packaged.FIXTURES / "results" / "passed.json", "OUT": tmp_path}
    ended = harness_command(*(names.get(each, each) for each in arguments.split()))
    assert ended.code == code, ended.err
    assert ended.out
    assert [line for line in ended.out.splitlines() if line != line.rstrip()] == []


def test_mutants_are_checked_in_the_selftest(harness_command: Command, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    given = ("selftest", "--mutants", "--operator", "drop-row", "--sample", 1, "--resume", results)
    ended = harness_command(*given)
    assert ended.code == 0, ended.out
    lines = ended.out.splitlines()
    assert lines[0].split()[0] == "passed"
    assert "drop-row" in lines[0]
    assert lines[-1].startswith("1 of ")
    assert lines[-1].endswith("missed 0.")
    # The second time nothing runs: the file has the result.
    assert harness_command(*given).out == ended.out


def test_the_docs_list_every_check_and_every_option_of_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert {each.value for each in Check} <= rows
    assert {name for name in GROUPS if f"`{name}`" not in page} == set()
    options = {option for each in load_command("check").params for option in each.opts}
    # Those that choose a stored run are told by the help alone. Every command has --version.
    told = options - {"--candidate", "--db", "--run", "--max-records", "--version"}
    assert {option for option in told if f"`{option}" not in page} == set()


def test_the_docs_say_which_checks_the_depths_leave_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
    by_default = " and ".join(f"`{each}`" for each in Selection.of_depth(Depth.DEFAULT).left_out)
    assert f"all but {by_default} |" in page
    assert Selection.of_depth(Depth.QUICK).checks == (Check.RECORDS, Check.QUERIES)
    assert "`records` without corruptions and large runs, and `queries` |" in page
