"""Runs a fixed sample of the mutants of `tox -e mutation`, and reports what became of it.

    python .ci/mutation.py run [PATTERN...]  # run the sample, or what of it fits a pattern
    python .ci/mutation.py report            # list the survivors; exit 1 if too few are detected
    python .ci/mutation.py write             # the same, and write the table in the docs

Needs mutmut, which writes `mutants/`. `.ci/survivors.toml` explains survivors that show no hole.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MUTANTS = ROOT / "mutants"
EXPLANATIONS = Path(__file__).with_name("survivors.toml")
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- mutation: start -->\n", "<!-- mutation: end -->\n"
# One mutant of so many in a module is tried, rounded up.
SHARE = 250
# Of 100 mutants that are not explained, so many have to be detected.
GOAL = 90
# The exit codes of pytest, and the numbers that mutmut records instead.
OUTCOMES = {None: "not tried", 0: "survived", 1: "killed", 3: "killed", 5: "no tests"}
OUTCOMES |= {2: "not tried", 33: "no tests", 34: "not tried", 35: "not tried"}
# As mutmut finds the mutated files: a PYTHONPATH would reach the processes that tests start.
_PYTEST = "import sys; sys.path[:0] = ['src', '.']; import pytest; sys.exit(pytest.main())"
DETECTED = ("killed", "timeout")


@dataclass(frozen=True)
class Mutant:
    """One mutant of the sample: what became of it, what it changes, and why it may survive."""

    name: str
    outcome: str
    removed: str = ""
    added: str = ""
    explanation: str = ""

    @property
    def module(self) -> str:
        """The module that the mutant changes."""
        return module_of(self.name)

    @property
    def detected(self) -> bool:
        """Whether a test failed or did not end."""
        return self.outcome in DETECTED


def main(arguments: list[str]) -> int:
    """Run the sample or report on it, and return the exit code."""
    match arguments:
        case ["run", *patterns]:
            return _run(patterns)
        case ["report" | "write" as command]:
            return _report(write=command == "write")
    print(__doc__, file=sys.stderr)
    return 2


def module_of(name: str) -> str:
    """Return the module of the mutant `MODULE.FUNCTION__mutmut_NUMBER`."""
    return name.rpartition(".")[0]


def function_of(name: str) -> str:
    """Return the function of a mutant, as mutmut writes it."""
    return name.partition("__mutmut_")[0]


def sample(names: Iterable[str], share: int = SHARE) -> list[str]:
    """Choose one of `share` mutants in each module, rounded up, by a digest of the name.

    The same mutants are chosen in every run, and a change of one module leaves the others alone.
    """
    modules = defaultdict(list)
    for name in names:
        modules[module_of(name)].append(name)
    chosen: list[str] = []
    for of_module in modules.values():
        ranked = sorted(of_module, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen += ranked[: ceil(len(ranked) / share)]
    return sorted(chosen)


def explained(mutant: Mutant, explanations: Iterable[Mapping[str, str]]) -> str:
    """Return the reason why a mutant may survive: of its function and of the changed line.

    The number of a mutant changes with its function, so it is not compared.
    """
    function = function_of(mutant.name)
    for each in explanations:
        lines = (each["removed"].strip(), each["added"].strip())
        if each["function"] == function and lines == (mutant.removed, mutant.added):
            return each["reason"]
    return ""


def share_detected(mutants: Iterable[Mutant]) -> float:
    """Return how many of 100 mutants that are not explained the tests detect."""
    counted = [mutant.detected for mutant in mutants if not mutant.explanation]
    return 100 * sum(counted) / len(counted) if counted else 0.0


def summary(mutants: Iterable[Mutant], made: int) -> str:
    """Return the sentence above the table; `made` counts all mutants."""
    found = list(mutants)
    count = Counter(
        "explained" if each.explanation else "detected" if each.detected else "missed"
        for each in found
    )
    return (
        f"`tox -e mutation-sample` tried {len(found)} of {made:,} mutants: {count['detected']} "
        f"detected, {count['missed']} not detected, {count['explained']} explained. That is "
        f"{share_detected(found):.1f} % of those that are not explained."
    )


def table(mutants: Iterable[Mutant], made: Mapping[str, int]) -> Iterator[str]:
    """Return the lines of a table by module; `made` counts all mutants of a module."""
    found = list(mutants)
    yield "| Module | Mutants | Tried | Killed | Timeout | Explained | Survived | No tests |"
    yield "|---|---|---|---|---|---|---|---|"
    modules = {module: [each for each in found if each.module == module] for module in made}
    for module, of_module in (*modules.items(), ("all", found)):
        count = Counter("explained" if each.explanation else each.outcome for each in of_module)
        columns = ("killed", "timeout", "explained", "survived", "no tests")
        all_of_it = made[module] if module in made else sum(made.values())
        cells = [all_of_it, len(of_module), *(count[column] for column in columns)]
        yield f"| {module} | {' | '.join(map(str, cells))} |"


def _reasons() -> Mapping[str, Any]:
    return tomllib.loads(EXPLANATIONS.read_text(encoding="utf-8"))


def _results() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def _run(patterns: list[str]) -> int:
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1"]
    if not _results():
        # A run of few mutants makes all of them, and learns which test reaches which function.
        code = subprocess.run([*command, "querygrowth.search.*"], cwd=ROOT).returncode
        if code:
            return code
    names = sample(_results())
    if patterns:
        names = [name for name in names if any(fnmatchcase(name, each) for each in patterns)]
    if not names:
        print(f"no mutant of the sample fits {' or '.join(patterns)}", file=sys.stderr)
        return 2
    code = subprocess.run([*command, *names], cwd=ROOT).returncode
    return code or _retry(name for name in names if OUTCOMES.get(_results()[name]) == "survived")


def _retry(names: Iterable[str]) -> int:
    """Try survivors in new processes, where what modules build when imported is mutated too.

    mutmut counts what runs at import for the first of all tests. `.ci/survivors.toml` lists the
    tests of such modules.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    arguments = settings["tool"]["mutmut"]["pytest_add_cli_args"]
    tests = json.loads((MUTANTS / "mutmut-stats.json").read_text(encoding="utf-8"))
    reached_by = tests["tests_by_mangled_function_name"]
    imported = {each["module"]: each["tests"] for each in _reasons()["imported"]}
    for name in names:
        chosen = imported.get(module_of(name)) or reached_by[function_of(name)]
        command = [sys.executable, "-c", _PYTEST, "-q", "-x", "--rootdir=.", *arguments, *chosen]
        environment = os.environ | {"MUTANT_UNDER_TEST": name, "PY_IGNORE_IMPORTMISMATCH": "1"}
        tried = subprocess.run(command, cwd=MUTANTS, env=environment, stdout=subprocess.DEVNULL)
        print(f"{'survived' if tried.returncode == 0 else 'killed'} in a new process: {name}")
        if tried.returncode:
            _record_kill(name)
    return 0


def _record_kill(name: str) -> None:
    # Also where a module cannot be imported: pytest then ends with a code of its own.
    for path in MUTANTS.rglob("*.meta"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if name in found["exit_code_by_key"]:
            found["exit_code_by_key"][name] = 1
            path.write_text(json.dumps(found, indent=4), encoding="utf-8")


def _report(*, write: bool) -> int:
    results = _results()
    mutants = list(_mutants(results)) if results else []
    missing = sum(each.outcome == "not tried" for each in mutants)
    for each in mutants:
        if each.outcome in ("survived", "no tests"):
            print(f"{each.outcome}: {each.name}\n- {each.removed}\n+ {each.added}")
            print(f"{each.explanation or 'not explained'}\n")
    if missing or not mutants:
        print(
            f"{missing} of the {len(mutants)} mutants of the sample were not tried: run "
            "`tox -e mutation-sample` without a pattern",
            file=sys.stderr,
        )
        return 2
    made = dict(sorted(Counter(map(module_of, results)).items()))
    missed = [f"- `{each.name}`" for each in mutants if not each.detected and not each.explanation]
    lines = [summary(mutants, sum(made.values())), "", *table(mutants, made), ""]
    lines += ["Not detected:", "", *missed, ""] if missed else []
    print("\n".join(lines))
    if write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        text = "\n".join([f"On {datetime.now(UTC):%Y-%m-%d} {lines[0]}", *lines[1:]])
        PAGE.write_text(f"{before}{START}{text}{END}{after}", encoding="utf-8")
    return 0 if share_detected(mutants) >= GOAL else 1


def _mutants(results: Mapping[str, int | None]) -> Iterator[Mutant]:
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    explanations = _reasons()["survivor"]
    for name in sample(results):
        outcome = OUTCOMES.get(results[name], "timeout")
        if outcome in DETECTED or outcome == "not tried":
            yield Mutant(name, outcome)
            continue
        changes = get_diff_for_mutant(name).splitlines()[3:]
        removed, added = (
            "\n".join(line[1:].strip() for line in changes if line.startswith(sign))
            for sign in "-+"
        )
        mutant = Mutant(name, outcome, removed, added)
        yield Mutant(name, outcome, removed, added, explained(mutant, explanations))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
