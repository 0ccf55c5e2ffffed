"""The saved configuration of a candidate: where it is found, and what is refused in it."""

from pathlib import Path

import pytest
from command_line import Command

from harness.checks.declared import Declared
from harness.cli.candidate import chosen_candidate, declared_costs
from harness.cli.configuration import (
    Configuration,
    ConfigurationError,
    find_configuration,
    load_configuration,
)
from querygrowth.contracts.allowance import Allowance

SETTINGS = """
candidate = "theirs:Exporter"
src = "src"
python = ".venv"
database = "theirs:open"
transactions = 3
rows-per-record = 2.5
bytes-per-record = 400
worker-processes = true
chunked = { tokens = 500 }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / ".venv").mkdir()
    text = f"[project]\nname = 'theirs'\n\n[tool.landscape-harness]{SETTINGS}"
    (tmp_path / "pyproject.toml").write_text(text)
    return tmp_path


def test_every_setting_is_read_and_paths_are_those_of_the_file(project: Path) -> None:
    chosen = chosen_candidate(find_configuration(project / "src"), candidate=None)
    assert (chosen.reference, chosen.database) == ("theirs:Exporter", "theirs:open")
    assert (chosen.src, chosen.python) == (project / "src", str(project / ".venv"))
    assert chosen.declared == Declared(3, 2.5, 400, (Allowance("tokens", chunk=500),), True)


def test_a_small_file_holds_the_same_settings(project: Path) -> None:
    (project / "saved.toml").write_text(SETTINGS)
    small = load_configuration(project / "saved.toml").model_dump()
    assert small == find_configuration(project).model_dump()


def test_an_option_goes_before_a_setting(project: Path, tmp_path: Path) -> None:
    saved = find_configuration(project)
    declared = declared_costs(saved, chunked=["rows=7"], transactions=1, rows_per_record=0.0)
    assert declared == Declared(1, 0.0, 400, (Allowance("rows", chunk=7),), True)
    chosen = chosen_candidate(saved, candidate="mine:Exporter", src=tmp_path, python="python3")
    assert (chosen.reference, chosen.src, chosen.python) == ("mine:Exporter", tmp_path, "python3")


def test_an_interpreter_by_its_name_is_no_path(project: Path) -> None:
    (project / "saved.toml").write_text('python = "python3.12"')
    assert load_configuration(project / "saved.toml").python == "python3.12"


def test_the_nearest_project_decides_even_without_settings(project: Path) -> None:
    inner = project / "src" / "inner"
    inner.mkdir()
    assert find_configuration(inner).file == project / "pyproject.toml"
    (inner / "pyproject.toml").write_text("[project]\nname = 'inner'\n")
    assert find_configuration(inner) == Configuration()


@pytest.mark.parametrize("name", ["landscape-harnes", "landscape_harness", "Landscape-Harness"])
def test_a_table_of_nearly_the_right_name_is_refused(project: Path, name: str) -> None:
    # Its `src` would be left out unsaid, and the exporter of this environment be judged.
    (project / "pyproject.toml").write_text(f"[tool.{name}]\nsrc = 'src'\n")
    with pytest.raises(ConfigurationError, match=rf"no table \[tool\.{name}\]; did you mean"):
        find_configuration(project)


REFUSED = {
    "candidat = 'a:B'": "there is no key 'candidat'; the nearest is 'candidate'",
    "bytes_per_record = 4": "there is no key 'bytes_per_record'; the nearest is 'bytes-per-record'",
    "transactions = 0": "transactions: Input should be greater than or equal to 1, not 0",
    "transactions = true": "transactions: Input should be a valid integer, not True",
    "rows-per-record = nan": "rows-per-record: Input should be ",
    "chunked = { tokens = 1 }": "chunked.tokens: Input should be greater than or equal to 2",
    "worker-processes = 'no'": "worker-processes: Input should be a valid boolean",
    "python = ''": "python: String should match pattern",
    "candidate = 3": "candidate: Input should be a valid string, not 3",
    "": "saved.toml has no settings",
    "[tool.other]\nkey = 1": "saved.toml has no table [tool.landscape-harness]",
    "[tool]\nlandscape-harness = 3": "landscape-harness is not a table",
    "no toml": "saved.toml is not TOML",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_file_and_the_key(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "saved.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file)
    assert str(file) in str(caught.value)
    assert REFUSED[text] in str(caught.value)


@pytest.mark.parametrize("command", ["check", "bench", "gate"])
def test_a_command_reads_it_and_refuses_what_is_wrong_in_it(
    harness_command: Command, project: Path, command: str
) -> None:
    (project / "saved.toml").write_text("src = 'nosuch'")
    ended = harness_command(command, "--config", project / "saved.toml")
    assert (ended.code, ended.out) == (2, "")
    assert f"src: {project}/nosuch is not a directory" in ended.err


def test_a_table_that_does_not_exist_is_refused_at_the_setting(project: Path) -> None:
    (project / "saved.toml").write_text("chunked = { token = 500 }")
    saved = load_configuration(project / "saved.toml")
    with pytest.raises(ValueError, match="chunked: there is no table 'token'; the nearest is"):
        declared_costs(saved)
