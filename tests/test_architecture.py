"""docs/architecture.md names what exists, and draws the layers that import-linter holds."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest

from harness import fixtures

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LANDSCAPE = "src/elspeth/core/landscape"


def _layers() -> dict[str, list[list[str]]]:
    """The layers of each container, upper to lower, as pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return {
        contract["containers"][0]: [re.split(r" [|:] ", layer) for layer in contract["layers"]]
        for contract in contracts
        if contract["type"] == "layers"
    }


def _drawn(column: int) -> list[str]:
    """The rooms of one column of the drawing, from top to bottom, a line each."""
    drawing = re.findall(r"^```\n(harness +elspeth.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    starts = [drawing.index(name) for name in ("harness", "elspeth", "querygrowth")] + [None]
    lines = (line[starts[column] : starts[column + 1]].strip() for line in drawing.splitlines()[1:])
    return [line for line in lines if line not in ("", "|")]


_ABOVE = {"cli", "contracts"}
"""Rooms of elspeth above and below the audit trail."""


@pytest.mark.parametrize(
    ("column", "container"), [(0, "harness"), (1, "elspeth.core.landscape"), (2, "querygrowth")]
)
def test_the_drawing_has_the_rooms_in_the_order_of_the_layers(column: int, container: str) -> None:
    rank = {room: rank for rank, layer in enumerate(_layers()[container]) for room in layer}
    words = {word for line in _drawn(column) for word in re.findall(r"\w+", line)}
    assert words <= {*rank, *_ABOVE}
    drawn = [
        [rank[room] for room in re.findall(r"\w+", line) if room in rank] for line in _drawn(column)
    ]
    flat = [rank for line in drawn for rank in line]
    assert flat == sorted(flat)
    assert set(flat) == set(rank.values())


def test_every_path_on_the_page_exists() -> None:
    named = set(re.findall(r"`([\w./-]+(?:/|\.(?:py|toml|json|md)))`", PAGE))
    places = (
        ROOT,
        ROOT / LANDSCAPE,
        ROOT / "src/elspeth",
        ROOT / "src/querygrowth",
        ROOT / "harness",
        ROOT / "fixtures/faulty_exporters",
    )
    assert len(named) > 30
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_no_layered_product_has_more_than_seven_layers() -> None:
    assert max(len(layers) for layers in _layers().values()) == 7


def test_the_mutation_run_lists_files_and_tests_that_exist() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    mutation = settings["tool"]["mutmut"]
    patterns = (*mutation["only_mutate"], *mutation["pytest_add_cli_args_test_selection"])
    assert [each for each in patterns if not any(ROOT.glob(each))] == []


def test_the_mutation_run_covers_every_module_that_checks_and_compares() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    mutated = {
        path for each in settings["tool"]["mutmut"]["only_mutate"] for path in ROOT.glob(each)
    }
    judges = ("src/querygrowth/contracts", "src/querygrowth/growth", f"{LANDSCAPE}/verification")
    for folder in ("harness/checks", "harness/compare", *judges):
        assert set((ROOT / folder).rglob("*.py")) <= mutated


def test_every_module_of_the_fixtures_can_be_imported() -> None:
    """Many are loaded by their names in nightly tests alone, where no type checker looks."""
    found = [each.name for each in walk_packages(fixtures.__path__, f"{fixtures.__name__}.")]
    assert len(found) > 40
    for name in found:
        import_module(name)
