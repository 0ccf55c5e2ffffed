"""The CI workflows and the action: their permissions, pins, and the commands that they name."""

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from harness.cli.main import load_command

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / "action.yml"


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as a boolean.
    return {"on" if key is True else key: value for key, value in content.items()}


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = _read(path)["jobs"]
    return jobs


def _steps(path: Path) -> list[dict[str, Any]]:
    if path == ACTION:
        steps: list[dict[str, Any]] = _read(path)["runs"]["steps"]
        return steps
    return [step for job in _jobs(path).values() for step in job["steps"]]


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=_names(WORKFLOWS))
every_file = pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=_names([*WORKFLOWS, ACTION]))


def test_there_is_a_gate_for_pull_requests_and_one_for_the_night() -> None:
    events = {path.stem: _read(path)["on"] for path in WORKFLOWS}
    assert list(events["exporter-gate"]) == ["pull_request"]
    assert "schedule" in events["nightly"]


@every_workflow
def test_a_workflow_may_read_and_nothing_else(path: Path) -> None:
    assert _read(path)["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in _jobs(path).values())
    assert "pull_request_target" not in _read(path)["on"]


@every_workflow
def test_a_workflow_is_bounded_in_time_and_number(path: Path) -> None:
    assert "concurrency" in _read(path)
    assert all(0 < job["timeout-minutes"] <= 120 for job in _jobs(path).values())


@every_file
def test_every_action_is_pinned_by_its_full_hash(path: Path) -> None:
    used = [step["uses"] for step in _steps(path) if "uses" in step]
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in used), used


@every_file
def test_no_expression_is_pasted_into_a_script(path: Path) -> None:
    scripts = [step["run"] for step in _steps(path) if "run" in step]
    assert scripts
    assert not any("${{" in script for script in scripts)


@every_file
def test_no_secret_is_used(path: Path) -> None:
    assert "secrets." not in path.read_text(encoding="utf-8")


@every_workflow
def test_no_checkout_leaves_credentials_behind(path: Path) -> None:
    checkouts = [s for s in _steps(path) if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@every_file
def test_every_harness_command_in_a_script_exists_with_its_options(path: Path) -> None:
    for script in (step["run"] for step in _steps(path) if "run" in step):
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words and words[0].rpartition("/")[2] == "harness":
                options = {o for p in load_command(words[1]).params for o in p.opts}
                assert {word for word in words if word.startswith("--")} <= options, line


def test_the_action_runs_the_gate_with_options_that_exist() -> None:
    (step,) = (step for step in _steps(ACTION) if step.get("id") == "gate")
    assert '/harness" gate "${options[@]}"' in step["run"]
    given = set(re.findall(r"(?:add |options=\()(--[\w-]+)", step["run"]))
    depths = {f"--{depth}" for depth in ("quick", "all")}
    assert len(given) > 8
    assert given | depths <= {o for p in load_command("gate").params for o in p.opts}


def test_every_extra_that_the_action_installs_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    scripts = " ".join(step["run"] for step in _steps(ACTION) if "run" in step)
    named = set(re.findall(r"\$ACTION\[([\w,-]+)\]", scripts))
    assert named
    assert named <= extras["project"]["optional-dependencies"].keys()


def test_the_example_of_the_documentation_uses_inputs_that_exist() -> None:
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    steps = yaml.safe_load(example)["jobs"]["gate"]["steps"]
    (ours,) = (step for step in steps if step["uses"].startswith("OWNER/"))
    assert ours["with"].keys() <= _read(ACTION)["inputs"].keys()
    pinned = {step["uses"] for path in WORKFLOWS for step in _steps(path) if "uses" in step}
    assert {step["uses"] for step in steps if step is not ours} <= pinned


def test_every_input_of_the_action_is_used_and_described() -> None:
    text = ACTION.read_text(encoding="utf-8")
    for name, described in _read(ACTION)["inputs"].items():
        assert f"inputs.{name}" in text, name
        assert described["description"].endswith("."), name


def test_the_gate_compares_with_the_base_of_the_pull_request() -> None:
    gate = next(step for step in _steps(WORKFLOWS[0]) if step.get("name") == "harness gate")
    assert gate["env"]["BASE"] == "${{ github.event.pull_request.base.sha }}"
    assert '--base "$BASE"' in gate["run"]


@pytest.mark.parametrize("linter", ["zizmor", "actionlint"])
def test_a_linter_of_workflows_finds_nothing(linter: str) -> None:
    if shutil.which(linter) is None:
        pytest.skip(f"{linter} is not installed here")
    command = {
        "zizmor": ["zizmor", "--offline", "--quiet", *map(str, [*WORKFLOWS, ACTION])],
        "actionlint": ["actionlint", *map(str, WORKFLOWS)],
    }[linter]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def _tox() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "tox.ini", encoding="utf-8")
    return found


def _versions(requirements: list[str], operator: str) -> dict[str, Version]:
    """Return the version that each requirement names with an operator, by package."""
    return {
        each.name.lower(): Version(specifier.version)
        for each in map(Requirement, requirements)
        for specifier in each.specifier
        if specifier.operator == operator
    }


@pytest.mark.parametrize(
    ("project", "extras", "environments"),
    [
        (".", ("postgresql", "harness", "attest", "zstd", "dask"), ("lowest", "testenv:lowest")),
        ("src/querygrowth", (), ("testenv:querygrowth-lowest",)),
    ],
)
def test_the_lowest_versions_that_are_tested_are_those_of_the_package(
    project: str, extras: tuple[str, ...], environments: tuple[str, ...]
) -> None:
    declared = tomllib.loads((ROOT / project / "pyproject.toml").read_text(encoding="utf-8"))
    needed = declared["project"]["dependencies"]
    optional = declared["project"]["optional-dependencies"]
    floors = _versions([*needed, *(each for extra in extras for each in optional[extra])], ">=")
    floors.pop("querygrowth", None)  # It comes from this checkout.
    lines = [line for name in environments for line in _tox()[name]["deps"].splitlines()]
    pinned = _versions([line for line in lines if line and line[0] not in "#-{"], "==")
    assert floors
    assert {name: pinned.get(name) for name in floors} == floors


def test_a_core_of_the_tests_runs_on_every_interpreter_that_is_supported() -> None:
    tox = _tox()
    for name in tox["core"]["tests"].split():
        assert (ROOT / name).exists(), name
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = {
        each.rpartition(" :: ")[2].replace(".", "")
        for each in declared["classifiers"]
        if re.search(r":: 3\.\d+$", each)
    }
    (run,) = re.findall(r"core-\{([\w,]+)\}", tox["tox"]["env_list"])
    (core,) = (tox[name] for name in tox if name.startswith("testenv:core-"))
    assert "lowest: py311" in core["base_python"]
    assert {*run.split(",")} - {"lowest"} | {"py311"} == {f"py{each}" for each in supported}


def test_the_night_runs_all_tests_on_every_interpreter_and_with_the_lowest_versions() -> None:
    jobs = _jobs(ROOT / ".github" / "workflows" / "nightly.yml")
    run = jobs["interpreters"]["strategy"]["matrix"]["environment"]
    (version,) = re.findall(
        r"3\.(\d+)$", jobs["property-tests"]["steps"][1]["with"]["python-version"]
    )
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = set(re.findall(r":: 3\.(\d+)", " ".join(declared["classifiers"])))
    assert {*run, f"py3{version}"} == {"lowest", *(f"py3{each}" for each in supported)}
