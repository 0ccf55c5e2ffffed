"""Every option of every `harness` command, given a wrong value of its kind: never an answer.

The options come from the commands themselves, so that a new one is tried as well. A call that would
measure ends with exit code 0 where the measurement begins, which is what must not be reached.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from command_line import Command

from elspeth.core.landscape import LandscapeDB
from harness.cli import main as cli
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

MEASURES = (
    *(("cli.bench", "run_experiment"), ("cli.gate", "run_gate"), ("cli.check", "prepare_checks")),
    *(("cli.compare", "run_race"), ("cli.baseline", "count_costs")),
    *(("cli.golden", "sqlite_files"), ("cli.generate", "generate_run")),
    *(("cli.selftest", "run_selftest"), ("mutants.run", "_results")),
)

WRONG = {
    "--candidate": ("no_such_module:Exporter",),
    "--python": ("no/such/python",),
    "--database": ("no_such_module:opener",),
    "--part": ("recrods",),
    "--chunked": ("tokns=500", "tokens=1", "tokens"),
    "--postgresql": ("sqlite://", "localhost"),
    "--db": ("sqlite:///no/such/folder/audit.db", "nonsense://"),
    "--run": ("no such run",),
    "--base": ("no-such-revision",),
    "base": ("no-such-revision",),
    "head": ("no-such-revision",),
    "--docs-url": ("example",),
    "--preset": ("typicl",),
    "--design": ("bached",),
    "--operator": ("drop-rows",),
    "--shard": ("3/2", "0/2", "1"),
}
"""By option: texts that name nothing."""

BESIDE = {
    "--run": ("--db", "sqlite:///audit.db"),
    "--db": ("--run", "latest"),
    "--design": ("--mutants",),
    "--operator": ("--mutants",),
    "--shard": ("--mutants",),
    "--sample": ("--mutants",),
    "--resume": ("--mutants",),
    "head": ("HEAD",),
}
"""By option: what has to be given with it."""

NEVER_WRONG = {
    ("generate", "--run"): "the name of a new run is free",
    ("bench", "--output"): "where results go is no part of the question",
    ("gate", "--output"): "where results go is no part of the question",
}
"""Options that cannot make an answer wrong, with the reason."""


@dataclass(frozen=True)
class Mistyped:
    """A call with one wrong value."""

    command: str
    option: str
    value: str

    @property
    def arguments(self) -> Sequence[str]:
        beside = () if self.command == "generate" else BESIDE.get(self.option, ())
        given = (self.option, self.value) if self.option.startswith("-") else (self.value,)
        needed = ("HEAD",) if self.command == "compare" and self.option.startswith("-") else ()
        return (self.command, *needed, *beside, *given)


def mistyped() -> Iterator[Mistyped]:
    group: Any = typer.main.get_command(cli.app)
    for command in cli.COMMANDS:
        for parameter in group.get_command(None, command).params:
            option = parameter.opts[-1]
            is_free = (command, option) in NEVER_WRONG
            if not getattr(parameter, "is_flag", False) and option != "--help" and not is_free:
                yield from (Mistyped(command, option, value) for value in wrong_values(parameter))


def wrong_values(parameter: Any) -> Sequence[str]:
    option = parameter.opts[-1]
    kind = getattr(parameter, "type", None) or parameter.type_descriptor.annotation
    name = str(kind).lower()
    if option in WRONG:
        return WRONG[option]
    if option in ("--output", "--resume"):
        return ("a file/below",)
    if "path" in name:
        return ("no/such/path",)
    if "int" in name or "float" in name:
        # The numbers of a seed are all of one kind.
        return ("x",) if option == "--seed" else ("x", "-1")
    raise AssertionError(f"no wrong value is known for {option} of kind {name}: add one to WRONG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistyped")
    with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
        generate_run(db, RunSpec(run_id="a run"))
    (folder / "a file").touch()
    return folder


def start(*_: object, **__: object) -> NoReturn:
    raise SystemExit(0)


@pytest.mark.parametrize(
    "call", [*mistyped()], ids=lambda call: f"{call.command} {call.option} {call.value}"
)
def test_a_mistyped_value_is_refused_or_undecided_and_never_passed(
    harness_command: Command, call: Mistyped, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for module, name in MEASURES:
        monkeypatch.setattr(import_module(f"harness.{module}"), name, start)
    ended = harness_command(*call.arguments)
    if ended.code == 1:
        assert "inconclusive" in ended.out
    else:
        # 3: a database that cannot be opened.
        assert ended.code in (2, 3), ended
        assert "Traceback" not in ended.err
