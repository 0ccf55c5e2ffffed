"""Shows the gate's report on a pull request: the job's summary, and one comment.

Run by action.yml with a plain Python. It decides nothing: a report that cannot be shown changes no
verdict.

    python pull_request.py summary REPORT LOG
    python pull_request.py comment REPORT
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NOT_JUDGED = "not judged"
_TITLE = "# Landscape export: "
_LONGEST = 60_000
# GitHub refuses comments of more than 65,536 characters.
_PAGES = 30
_PER_PAGE = 100
_SECONDS = 30


def write_summary(report: Path, log: Path, environ: Mapping[str, str]) -> None:
    """Add the report to the job's summary, and give the outcome as an output of the step.

    A gate that could not start has written no report. Its last error then becomes one.

    Args:
        report: The folder of the gate's reports.
        log: What the gate has printed.
        environ: The environment, with the files of GitHub's runner.
    """
    page = report / "report.md"
    if not page.exists():
        error = _last_error(log)
        report.mkdir(parents=True, exist_ok=True)
        text = f"{_TITLE}{NOT_JUDGED}\n\nThe gate could not start:\n\n    {error}\n"
        page.write_text(text, encoding="utf-8")
        print(f"::error title=the gate could not start::{_escaped(error)}")
    text = page.read_text(encoding="utf-8")
    outcome = text.partition("\n")[0].removeprefix(_TITLE)
    for name, line in (("GITHUB_STEP_SUMMARY", text), ("GITHUB_OUTPUT", f"outcome={outcome}\n")):
        with Path(environ[name]).open("a", encoding="utf-8") as file:
            file.write(line)


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["the exporter or the harness could not be installed"])[-1]


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def write_comment(report: Path, environ: Mapping[str, str]) -> str:
    """Write the gate's comment on the pull request, or bring the one it has up to date.

    Args:
        report: The folder of the gate's reports.
        environ: The environment: TOKEN, PULL_REQUEST, EXPORTER, and GitHub's own variables.

    Returns:
        What happened, in one line. A token without the right to write is not an error.
    """
    page = report / "report.md"
    if not page.exists():
        return "no comment: there is no report"
    # One comment for an exporter, as a pull request may have several on trial.
    marker = f"<!-- landscape export gate {environ.get('EXPORTER', '').replace('-->', '')} -->"
    text = page.read_text(encoding="utf-8")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n\n... cut off: the artifact of the job has the whole report.\n"
    body = {"body": f"{marker}\n{text}"}
    repository = f"{environ['GITHUB_API_URL']}/repos/{environ['GITHUB_REPOSITORY']}/issues"
    comments = f"{repository}/{environ['PULL_REQUEST']}/comments"
    try:
        for each in _comments(comments, environ):
            # A person may have quoted the marker.
            if each["body"].startswith(marker) and each["user"]["type"] == "Bot":
                _ask("PATCH", f"{repository}/comments/{each['id']}", environ, body)
                return f"updated the comment {each['id']}"
        return f"wrote the comment {_ask('POST', comments, environ, body)['id']}"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            return "no comment: the token may not write one, as that of a fork"
        return f"no comment: GitHub answered {error.code}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no comment: {type(error).__name__}"


def _comments(address: str, environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for page in range(1, _PAGES + 1):
        found = _ask("GET", f"{address}?per_page={_PER_PAGE}&page={page}", environ)
        yield from found
        if len(found) < _PER_PAGE:
            return


def _ask(method: str, address: str, environ: Mapping[str, str], body: object = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - the address is GitHub's own
        address,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {environ['TOKEN']}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


def main() -> None:
    """Run the command that the arguments name."""
    command, report, *more = sys.argv[1:]
    if command == "summary":
        write_summary(Path(report), Path(*more), os.environ)
    else:
        print(f"::notice::{_escaped(write_comment(Path(report), os.environ))}")


if __name__ == "__main__":
    main()
