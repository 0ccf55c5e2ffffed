"""Shows the gate on four branches: N+1 back, retry order swapped, 15 % slower, and untouched.

Run it from a checkout, in an environment where the project is installed with its `dev` extra:

    python demo/show_gate.py

Each branch is a commit in a clone of its own; nothing here is changed. The reports stay in
out/demo/<branch>/. Exit 0 when the gate decided about all four as it should.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LANDSCAPE = Path("src/elspeth/core/landscape")
ROWS = "300"

N_PLUS_ONE = """

# The demonstration's N+1: the members of each batch are asked for one batch at a time.
from sqlalchemy import text

_records_at_once = LandscapeExporter._iter_records


def _iter_records(self, run_id):
    for record in _records_at_once(self, run_id):
        if record["record_type"] == "batch":
            members = text("SELECT token_id FROM batch_members WHERE batch_id = :batch_id")
            with self._db.connection() as connection:
                connection.execute(members, {"batch_id": record["batch_id"]}).all()
        yield record


LandscapeExporter._iter_records = _iter_records
"""

SLOWER = """

# The demonstration's slowdown: 15 % fewer rows a second, whatever the machine.
from time import perf_counter

_write_jsonl_at_full_speed = LandscapeExporter.write_jsonl


def _write_jsonl(self, *args, **options):
    started = perf_counter()
    published = _write_jsonl_at_full_speed(self, *args, **options)
    end = started + (perf_counter() - started) / 0.85
    while perf_counter() < end:
        pass
    return published


LandscapeExporter.write_jsonl = _write_jsonl
"""


def put_the_n_plus_one_back(clone: Path) -> None:
    """Add a query for each batch to the exporter."""
    append(clone / LANDSCAPE / "exporter.py", N_PLUS_ONE)


def swap_the_retry_order(clone: Path) -> None:
    """Have the last attempt of a step exported first."""
    file = clone / LANDSCAPE / "statements.py"
    source = file.read_text(encoding="utf-8")
    swapped, places = re.subn(
        r"(BY_STATE = .*node_states_table\.c\.attempt)\)", r"\1.desc())", source
    )
    if places != 1:
        raise SystemExit(f"{file} no longer orders node states in BY_STATE: adapt this script")
    file.write_text(swapped, encoding="utf-8")


def make_it_slower(clone: Path) -> None:
    """Have every export to a file take 15 % of its speed away."""
    append(clone / LANDSCAPE / "exporter.py", SLOWER)


def leave_it_alone(clone: Path) -> None:
    """Touch nothing that an exporter does."""
    append(clone / "README.md", "\nA sentence more.\n")


@dataclass(frozen=True)
class Branch:
    """One branch: what it does to the exporter, and what the gate must say of it."""

    name: str
    edit: Callable[[Path], None]
    passes: bool
    words: str


BRANCHES = (
    Branch("n-plus-one", put_the_n_plus_one_back, False, "::error file=src/elspeth/core"),
    Branch("retry-order", swap_the_retry_order, False, "equivalence"),
    Branch("slower", make_it_slower, False, "speed against base"),
    Branch("untouched", leave_it_alone, True, "verdicts passed"),
)


def append(file: Path, text: str) -> None:
    """Add text to the end of a file."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(text)


def main() -> int:
    """Make the four branches, put each through the gate, and tell how it was decided."""
    chosen = [each for each in BRANCHES if each.name in sys.argv[1:]] or list(BRANCHES)
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        clone = Path(directory) / "clone"
        clone_checkout(clone)
        wrong = [branch.name for branch in chosen if not show(branch, clone)]
    say(f"\n{len(chosen) - len(wrong)}/{len(chosen)} decided as they should be")
    return 1 if wrong else 0


def show(branch: Branch, clone: Path) -> bool:
    """Put one branch through the gate; returns whether it was decided as it should be."""
    git(clone, "checkout", "--quiet", "-B", branch.name, "main")
    branch.edit(clone)
    git(clone, "commit", "--quiet", "--all", "--message", branch.name)
    output = ROOT / "out" / "demo" / branch.name
    say(f"\n== {branch.name}")
    code, said = gate(clone, output)
    say(said)
    right = (code == 0) == branch.passes and branch.words in said
    say(f"exit {code}, {'as it should be' if right else 'WRONG'}; {output}/report.html")
    return right


def gate(clone: Path, output: Path) -> tuple[int, str]:
    """Run the clone's own gate against its main branch, as CI does."""
    paths = os.pathsep.join([str(clone), str(clone / "src")])
    command = ["harness", "gate", "--base", "main", "--rows", ROWS, "--output", str(output)]
    answer = subprocess.run(  # noqa: S603 - the clone's own harness
        [sys.executable, "-m", *command],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": paths, "GITHUB_ACTIONS": "true"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout


def clone_checkout(clone: Path) -> None:
    """Copy the checkout, with what is not committed yet, into a repository of its own."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = clone / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    git(clone, "init", "--quiet", "--initial-branch", "main")
    git(clone, "config", "user.name", "demonstration")
    git(clone, "config", "user.email", "demonstration@localhost")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "As it is")


def say(text: str) -> None:
    """Tell it at once, also where a pipe would hold it back."""
    print(text, flush=True)  # noqa: T201 - what a script is for


def git(directory: Path, *arguments: str) -> str:
    """Run git there and return what it printed."""
    return subprocess.run(  # noqa: S603 - fixed words and paths, no shell
        ["git", "-C", str(directory), *arguments],  # noqa: S607 - the user's own git
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
