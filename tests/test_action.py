"""The steps of action.yml, played on pull requests of a small repository."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from profiles import is_nightly
from small_repository import EXPORTER, PULL_REQUESTS, PullRequest, checked_out, saved_race

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
MARKER = "<!-- landscape export gate trail_export.exporter:TrailExporter -->"
EXPORTER_INPUT = "trail_export.exporter:TrailExporter"

# On a pull request two are measured, at the least size, beside those of saved results. The nightly
# run measures all, with the self-test of the harness, which takes most of the time of a small gate.
HERE = ("crash", "slower", "faster", "broken import")
IS_NIGHTLY = is_nightly()
WITHOUT_SELFTEST = """#!{python}
from types import SimpleNamespace
from harness import gate
from querygrowth.verdict import Outcome, Verdict
passed = SimpleNamespace(verdict=Verdict("left out", Outcome.PASSED, "", ""))
gate.run_selftest = lambda selection: [passed]
from harness.cli.main import main
main()
"""


class GitHub(BaseHTTPRequestHandler):
    """GitHub's comments of one pull request, for a token that may write them or not."""

    comments: ClassVar[list[dict[str, Any]]] = []
    may_write: ClassVar[bool] = True

    def do_GET(self) -> None:
        self._answer(200, self.comments)

    def do_POST(self) -> None:
        body = self._body()
        if not self.may_write:
            self._answer(403, {"message": "Resource not accessible by integration"})
            return
        comment = {"id": len(self.comments) + 1, "user": {"type": "Bot"}, **body}
        self.comments.append(comment)
        self._answer(201, comment)

    def do_PATCH(self) -> None:
        number = int(self.path.rpartition("/")[2])
        self.comments[number - 1].update(self._body())
        self._answer(200, self.comments[number - 1])

    def _body(self) -> dict[str, Any]:
        assert self.headers["Authorization"] == "Bearer the-token"
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, code: int, content: object) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def github() -> Iterator[str]:
    """The address of GitHub's interface; comments are kept in the class."""
    GitHub.comments.clear()
    GitHub.may_write = True
    with HTTPServer(("127.0.0.1", 0), GitHub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass
class Runner:
    """Plays the steps of the action as GitHub's runner does.

    The step that installs is left out: both environments are the one that the tests run in.
    """

    folder: Path
    repository: Path
    address: str
    inputs: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def play(self, *names: str) -> tuple[int, str]:
        """Run the named steps, and return the gate's exit code and all that was printed."""
        temp = self.folder / "temp"
        temp.mkdir(exist_ok=True)
        (temp / "exporter").symlink_to(sys.prefix, target_is_directory=True)
        if IS_NIGHTLY:
            (temp / "harness").symlink_to(sys.prefix, target_is_directory=True)
        else:
            program = temp / "harness" / "bin" / "harness"
            program.parent.mkdir(parents=True)
            program.write_text(WITHOUT_SELFTEST.format(python=sys.executable), encoding="utf-8")
            program.chmod(0o755)
        code, printed = 0, ""
        for step in ACTION["runs"]["steps"]:
            if step["name"] not in names:
                continue
            if code and "cancelled()" not in step.get("if", ""):
                continue
            done = self._run(step, temp)
            printed += done.stdout
            if step["name"] == "gate":
                code = done.returncode
            else:
                assert done.returncode == 0, done.stdout
        return code, printed

    def _run(self, step: dict[str, Any], temp: Path) -> "subprocess.CompletedProcess[str]":
        output, summary = self.folder / "output.txt", self.folder / "summary.md"
        output.touch()
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        assert step["shell"] == "bash"
        environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.address,
            "GITHUB_REPOSITORY": "owner/repository",
            "GITHUB_SERVER_URL": "https://github.invalid",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(temp),
            **{name: self._evaluated(text) for name, text in step["env"].items()},
        }
        done = subprocess.run(
            shell,
            cwd=self.repository,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.outputs.update(line.split("=", 1) for line in output.read_text().splitlines())
        return done

    def _evaluated(self, text: str) -> str:
        expression = text.removeprefix("${{ ").removesuffix(" }}")
        room, _, name = expression.partition(".")
        given = {
            "inputs": {key: each["default"] for key, each in ACTION["inputs"].items()}
            | {"base": "", "token": "the-token", "pull-request": "7"}
            | self.inputs,
            "github": {
                "action_path": str(ROOT),
                "action_ref": "v1",
                "action_repository": "owner/gate",
            },
        }
        return given[room][name]


def played(
    pull_request: PullRequest, folder: Path, address: str, **inputs: str
) -> tuple[int, str, Runner]:
    """Play the action on a pull request at the least size."""
    repository = checked_out(pull_request, folder)
    least = {"rows": "20", "parts": "records", "depth": "quick", "exporter": EXPORTER_INPUT}
    if pull_request.seconds is not None:
        least["results"] = str(saved_race(pull_request, folder / "saved.json"))
    runner = Runner(folder, repository, address, least | inputs)
    code, printed = runner.play("gate", "summary", "comment")
    return code, printed, runner


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in HERE else pytest.mark.nightly)
        for name in PULL_REQUESTS
    ],
)
def test_a_pull_request_has_its_exit_code_headline_and_line(
    name: str, tmp_path: Path, github: str
) -> None:
    pull_request = PULL_REQUESTS[name]
    code, printed, runner = played(pull_request, tmp_path, github)
    assert code == pull_request.exit_code, printed
    report = (tmp_path / "temp" / "report" / "report.md").read_text(encoding="utf-8")
    outcome = {0: "passed", 1: "failed", 2: "not judged"}[code]
    assert runner.outputs["outcome"] == outcome
    title, _, *lines = report.splitlines()
    assert title == f"# Landscape export: {outcome}"
    assert pull_request.headline in "".join(lines[:3]).replace("\\", "")
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == report
    (comment,) = GitHub.comments
    assert comment["body"] == f"{MARKER}\n{report}"
    annotated = re.findall(r"^::error (?:file=([^,]+),line=(\d+),)?title=", printed, re.MULTILINE)
    where = (EXPORTER, str(pull_request.number)) if pull_request.line else ("", "")
    # One cause is one failure, and has one annotation.
    assert annotated == ([where] if code else [])
    if code < 2:
        require_documented_rules(tmp_path / "temp" / "report" / "report.sarif", failures=code)


@pytest.mark.nightly
def test_one_cause_is_one_failure_among_all_checks_of_costs(tmp_path: Path, github: str) -> None:
    code, printed, runner = played(
        PULL_REQUESTS["n+1"], tmp_path, github, parts="costs", depth="usual"
    )
    assert code == 1, printed
    report = (tmp_path / "temp" / "report" / "report.md").read_text(encoding="utf-8")
    assert ", 1 failed and " in report.replace("\\", "").splitlines()[2]
    assert runner.outputs["outcome"] == "failed"


def require_documented_rules(log: Path, failures: int) -> None:
    """Require rules with help and with a page that exists, and a result for every failure."""
    (run,) = json.loads(log.read_text(encoding="utf-8"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    pages = {rule["helpUri"] for rule in rules}
    assert pages == {"https://github.invalid/owner/gate/blob/v1/docs/gate.md#topics"}
    assert "\n## Topics\n" in (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"] for rule in rules)
    assert [each["level"] for each in run["results"]].count("error") == failures


def commented(folder: Path, address: str, report: str) -> str:
    """Play the steps that show a report, and return what was printed."""
    (folder / "temp" / "report").mkdir(parents=True)
    (folder / "temp" / "report" / "report.md").write_text(report, encoding="utf-8")
    runner = Runner(folder, folder, address, {"exporter": EXPORTER_INPUT})
    _, printed = runner.play("summary", "comment")
    assert runner.outputs["outcome"] == report.partition("\n")[0].rpartition(" ")[2]
    assert (folder / "summary.md").read_text(encoding="utf-8") == report
    return printed


def test_a_second_push_updates_the_comment_and_a_quoted_marker_is_left_alone(
    tmp_path: Path, github: str
) -> None:
    quoted = {"id": 1, "user": {"type": "User"}, "body": f"{MARKER} what is this?"}
    GitHub.comments.append(dict(quoted))
    for outcome in ("failed", "passed"):
        commented(tmp_path / outcome, github, f"# Landscape export: {outcome}\n\nwords\n")
    assert GitHub.comments[0] == quoted
    (comment,) = GitHub.comments[1:]
    assert comment["body"] == f"{MARKER}\n# Landscape export: passed\n\nwords\n"


def test_a_report_that_is_too_long_for_a_comment_is_cut_off_and_says_so(
    tmp_path: Path, github: str
) -> None:
    commented(tmp_path, github, "# Landscape export: failed\n" + "a line\n" * 20_000)
    (comment,) = GitHub.comments
    assert len(comment["body"]) < 65_536
    assert comment["body"].endswith("the artifact of the job has the whole report.\n")


def test_a_token_that_may_not_write_is_no_error(tmp_path: Path, github: str) -> None:
    GitHub.may_write = False
    printed = commented(tmp_path, github, "# Landscape export: failed\n")
    assert "::notice::no comment: the token may not write one" in printed
    assert GitHub.comments == []


def test_no_answer_from_github_is_no_error(tmp_path: Path) -> None:
    printed = commented(tmp_path, "http://127.0.0.1:9", "# Landscape export: passed\n")
    assert "::notice::no comment: " in printed


def test_code_scanning_decides_nothing() -> None:
    (step,) = (step for step in ACTION["runs"]["steps"] if "uses" in step)
    assert step["continue-on-error"] is True
    assert step["with"]["sarif_file"] == "${{ steps.gate.outputs.report }}/report.sarif"
