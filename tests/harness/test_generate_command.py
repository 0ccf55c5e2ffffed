"""`harness generate`: it stores a run, and refuses a wrong option in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from contents import contents_digest

from elspeth.core.landscape import LandscapeDB
from harness.cli import main as cli
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from harness.generate.spec import RunSpec

Generate = Callable[..., Ended]


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generate:
    """Run the command in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["harness", "generate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(stop.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist."""
    return f"sqlite:///{tmp_path / 'generated.db'}"


def refusal(ended: Ended) -> str:
    """The message of a command that was used in a wrong way."""
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    return ended.err.removeprefix("error: ").removesuffix("\n")


def test_it_stores_the_run_of_the_preset(generate: Generate, url: str) -> None:
    done = generate("--preset", "tiny", "--rows", 3, "--seed", 5, "--run", "mine", "--db", url)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mine: 3 rows, ")
    with LandscapeDB(url) as db, LandscapeDB.in_memory() as expected:
        generate_run(expected, preset("tiny", 3, seed=5, run_id="mine"))
        assert contents_digest(db) == contents_digest(expected)


def test_without_options_it_shows_a_typical_run(generate: Generate) -> None:
    assert RunSpec.from_json(generate("--show-spec").out) == RunSpec.typical()


def test_a_missing_database_option_is_named(generate: Generate) -> None:
    assert refusal(generate("--preset", "tiny")) == (
        "--db is missing: name the database to store the run in"
    )


@pytest.mark.parametrize(("name", "least"), [("typical", 10), ("adversarial", 4)])
def test_too_few_rows_for_a_preset_name_the_option_and_its_least_value(
    generate: Generate, url: str, name: str, least: int
) -> None:
    wanted = ("--preset", name, "--db", url)
    assert refusal(generate(*wanted, "--rows", 1)) == (
        f"--rows 1: the preset {name} needs at least {least} rows"
    )
    assert generate(*wanted, "--rows", least - 1).code == 2
    assert generate(*wanted, "--rows", least).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rows", "0"), "'--rows'"),
        (("--preset", "typicl"), "--preset: no preset 'typicl'; did you mean typical?"),
        (("--run", "r" * 49), "--run: run_id='rrr"),
        (("--run", ""), "--run: run_id='': not a text of 1 to 48 characters"),
        (("--spec", "absent.json"), "--spec absent.json: No such file or directory"),
        (("--writer", "bulk"), "No such option: --writer"),
    ],
)
def test_a_wrong_option_is_named(
    generate: Generate, url: str, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refusal(generate(*arguments, "--db", url))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "the spec is not JSON"),
        (b"\xff", "'utf-8' codec can't decode"),
        (b'{"row": 3}', "no field 'row'; did you mean rows?"),
        (b'{"members": 3}', "members=3 needs batches >= 1, not 0"),
    ],
)
def test_a_spec_of_an_impossible_run_is_refused_with_its_file(
    generate: Generate, url: str, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    said = refusal(generate("--spec", path, "--db", url))
    assert said.startswith(f"--spec {path}: ")
    assert message in said


@pytest.mark.parametrize(
    "option", [("--preset", "tiny"), ("--rows", "3"), ("--seed", "0"), ("--run", "mine")]
)
def test_an_option_that_a_spec_would_override_is_refused(
    generate: Generate, url: str, tmp_path: Path, option: tuple[str, str]
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(RunSpec().to_json())
    said = refusal(generate("--spec", path, *option, "--db", url))
    assert said.startswith(f"{option[0]} does not go with --spec")


def test_a_taken_run_id_is_refused_and_the_option_named(
    generate: Generate, url: str, tmp_path: Path
) -> None:
    assert generate("--preset", "tiny", "--db", url).code == 0
    assert refusal(generate("--preset", "tiny", "--seed", 1, "--db", url)).startswith(
        "--run: run 'run' exists already in sqlite:"
    )
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"run_id": "run"}))
    assert refusal(generate("--spec", path, "--db", url)).startswith(
        f"--spec {path}: run 'run' exists already in sqlite:"
    )
    with LandscapeDB(url) as db, LandscapeDB.in_memory() as expected:
        generate_run(expected, preset("tiny"))
        assert contents_digest(db) == contents_digest(expected)


def test_a_feature_that_the_backend_cannot_hold_is_refused_with_the_file(
    generate: Generate, postgres_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(RunSpec(features=frozenset(["nul_in_text"])).to_json())
    assert refusal(generate("--spec", path, "--db", postgres_url)) == (
        f"--spec {path}: nul_in_text: postgresql cannot hold it"
    )
