"""Run the comparison with other tools, and write it into docs/peers.md with date and versions."""

import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "peers.md"
# A block of output, below the name of the script that printed it.
OUTPUT = re.compile(r"(<!-- run: (\S+) -->\n```text\n).*?(\n```\n)", re.DOTALL)
MEASURED = re.compile(r"(<!-- measured -->\n).*?(\n\n)", re.DOTALL)
TOOLS = ("querygrowth", "pytest-queryguard", "pytest-querycount", "queryspy")


def main() -> None:
    """Run the scripts that the page names, and replace their outputs there."""
    text = OUTPUT.sub(lambda block: f"{block[1]}{output(block[2])}{block[3]}", PAGE.read_text())
    PAGE.write_text(MEASURED.sub(lambda words: f"{words[1]}{measured()}{words[2]}", text))


def measured() -> str:
    """The date, the interpreter and the versions, in one sentence."""
    tools = ", ".join(f"{name} {version(name)}" for name in TOOLS)
    return (
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `tox -e peers`, with CPython "
        f"{platform.python_version()},\nSQLAlchemy {version('sqlalchemy')}, pytest "
        f"{version('pytest')}, SQLite: {tools}."
    )


def output(script: str) -> str:
    """What a script prints."""
    command = [sys.executable, str(ROOT / script)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{script} failed, and the page is left as it is:\n{ran.stdout}\n{ran.stderr}")
    sys.stdout.write(ran.stdout)
    return ran.stdout.rstrip()


if __name__ == "__main__":
    main()
