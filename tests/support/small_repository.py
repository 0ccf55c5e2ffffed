"""The small repository of the fixtures, with the pull requests that the action is played on."""

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bench.paired_ratio import Pairing, pair
from harness.bench.result_file import load_results, save_results
from harness.bench.results import Judgement, Topic
from harness.bench.timing import Timing

_FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPORTER = "src/trail_export/exporter.py"
_PLACE = "        return record\n"

_N_PLUS_ONE = """\
        if record["record_type"] == "token":
            with self._db.engine.connect() as connection:
                connection.execute(PARENTS, {"token_id": record["token_id"]}).all()
        return record
"""
_ONE_BYTE = """\
        if record["record_type"] == "node":
            return {**record, "plugin_name": f"{record['plugin_name'][:-1]}!"}
        return record
"""
_CRASH = """\
        if record["record_type"] == "token":
            raise KeyError(record["record_type"])
        return record
"""
_BROKEN_IMPORT = """\
        return record


raise RuntimeError("nothing is configured")
"""


@dataclass(frozen=True)
class PullRequest:
    """A change to the small repository, and what the action has to say about it.

    Attributes:
        name: What it does.
        code: Takes the place of the last line of the exporter's method.
        seconds: The exports of base and head in a saved race; None to measure.
        exit_code: The exit code of the gate.
        headline: What the first line about the result contains.
        line: The line of code that is annotated; empty for no annotation at a line.
    """

    name: str
    code: str
    exit_code: int
    headline: str
    line: str = ""
    seconds: tuple[float, float] | None = None

    @property
    def number(self) -> int:
        """The number of the annotated line in the changed file."""
        lines = _changed(self).splitlines()
        return next(n for n, line in enumerate(lines, start=1) if self.line in line)


PULL_REQUESTS = {
    each.name: each
    for each in (
        PullRequest("unchanged", "        return record\n", 0, "verdicts: "),
        PullRequest(
            "n+1", _N_PLUS_ONE, 1, "growth: TrailExporter: queries grew with", "execute(PARENTS"
        ),
        PullRequest("one byte", _ONE_BYTE, 1, "field plugin_name", "class TrailExporter"),
        PullRequest("crash", _CRASH, 1, "it raised KeyError", "raise KeyError"),
        PullRequest(
            *("slower", _PLACE, 1, "speed against base: rows/s of head"), seconds=(0.100, 0.118)
        ),
        PullRequest("faster", _PLACE, 0, "verdicts: ", seconds=(0.118, 0.100)),
        PullRequest("broken import", _BROKEN_IMPORT, 1, "RuntimeError: nothing is configured"),
    )
}


def _changed(pull_request: PullRequest) -> str:
    source = (_FIXTURES / "small_repository" / EXPORTER).read_text(encoding="utf-8")
    assert source.endswith(_PLACE)
    return source.removesuffix(_PLACE) + pull_request.code


def checked_out(pull_request: PullRequest, folder: Path) -> Path:
    """Make the repository with a commit for the pull request, and return its folder."""
    repository = folder / "repository"
    shutil.copytree(_FIXTURES / "small_repository", repository)
    for arguments in (("init", "--quiet", "--initial-branch", "main"), ("add", "--all")):
        _git(repository, *arguments)
    _git(repository, "commit", "--quiet", "--message", "As it is")
    _git(repository, "checkout", "--quiet", "-b", "change")
    (repository / EXPORTER).write_text(_changed(pull_request), encoding="utf-8")
    _git(repository, "commit", "--quiet", "--all", "--allow-empty", "--message", pull_request.name)
    return repository


def saved_race(pull_request: PullRequest, path: Path) -> Path:
    """Save results of a gate with a race of the pull request's times, and return the file."""
    assert pull_request.seconds is not None
    base, head = (
        Timing(name, tuple(second * (1 + each / 100) for each in (0, 2, -2, 1, -1, 0) * 2))
        for name, second in zip(("base main", "head change"), pull_request.seconds, strict=True)
    )
    passed = load_results(_FIXTURES / "results" / "passed.json")
    pairing = Pairing(500, 4000, pair(base, head), pair(base, head))
    speed = Judgement(Topic.SPEED, pairing.verdict())
    judgements = (*passed.judgements, speed)
    save_results(replace(passed, pairing=pairing, judgements=judgements), path)
    return path


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
