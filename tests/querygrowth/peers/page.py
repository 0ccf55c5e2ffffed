"""Run the comparison with other tools, and write it into docs/peers.md with date and versions."""

import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "peers.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# The scripts, in the order of the page, with the words above what each prints.
SCRIPTS = (
    (
        "tests/querygrowth/peers/matrix.py",
        "## What each finds\n\n"
        "`caught` and `false alarm` stand where a test of the scenario fails under the tool.",
    ),
    (
        "tests/bench/counting_cost.py",
        "## A query\n\n"
        "Microseconds of processor time for a query, from 2,000 small queries with a tool in rounds "
        "that alternate with\na bare counter in the same process. Through Core, queryspy counts "
        "statements and records no call sites.",
    ),
    (
        "tests/querygrowth/peers/cost.py",
        "## Start-up, tests, packages, megabytes\n\n"
        "Processor time beyond that of pytest without a plugin. *Unused* is a suite that counts "
        "nothing and imports no\nSQLAlchemy; *used* and *budget* are tests with a budget of one "
        "query.",
    ),
)


def main() -> None:
    """Run the scripts and replace the measured part of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    measured = "\n\n".join([described(), *(section(*each) for each in SCRIPTS)])
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")


def described() -> str:
    """The date, the interpreter and the versions, in one sentence."""
    names = ("querygrowth", "pytest-queryguard", "pytest-querycount", "queryspy")
    tools = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `tox -e peers`, with CPython "
        f"{platform.python_version()},\nSQLAlchemy {version('sqlalchemy')}, pytest "
        f"{version('pytest')}, SQLite: {tools}."
    )


def section(script: str, words: str) -> str:
    """What a script prints, below its words."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"{script} failed, and the page is left as it is:\n{ran.stdout}\n{ran.stderr}")
    sys.stdout.write(ran.stdout)
    return f"{words}\n\n```text\n{ran.stdout.rstrip()}\n```"


if __name__ == "__main__":
    main()
