"""The `harness` command and its list of commands, one module of `harness.cli` for each.

To add a command, write harness/cli/NAME.py with a function NAME, and add NAME to COMMANDS.
"""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from elspeth.cli.runtime import run_command
from harness.cli.packages import EXTRA_PACKAGES, missing_package

COMMANDS = (
    "bench",
    "check",
    "compare",
    "gate",
    "baseline",
    "history",
    "generate",
    "golden",
    "selftest",
)
"""In the order of `harness --help`."""

# Unexpected errors print Python's own traceback: rich's would show local variables, and with them
# the signing key.
_LOOK: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class _Commands(TyperGroup):
    """Imports a command at its first use: it may need a package that is not installed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command with a name; None if the name is unknown."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands in the help."""
        # click imports every command for the first sentence of its docstring.
        if any(find_spec(package) is None for package in EXTRA_PACKAGES):
            super().format_commands(ctx, formatter)
            return
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _described(name).get_short_help_str(limit)) for name in COMMANDS]
            )


app = typer.Typer(cls=_Commands, **_LOOK)


@app.callback()
def _commands() -> None:
    """Proves that an exporter writes the control's bytes, and shows its costs."""


def main() -> NoReturn:
    """Run the `harness` command."""
    run_command(app, "harness", usage_errors=_usage_errors)


def _usage_errors() -> tuple[type[Exception], ...]:
    # Imported when an error is to be explained: `harness --help` would wait for all of it.
    from harness.bench.baseline import BaselineError
    from harness.bench.environment import RevisionError
    from harness.bench.results import ResultsError
    from harness.bench.targets import TargetsError
    from harness.checks.golden import GoldenError
    from harness.cli.configuration import ConfigurationError
    from harness.exporters.subject import SubjectError
    from harness.generate.spec import ImpossibleSpecError

    return (
        BaselineError,
        ConfigurationError,
        GoldenError,
        ImpossibleSpecError,
        ResultsError,
        RevisionError,
        SubjectError,
        TargetsError,
    )


def load_command(name: str) -> Any:
    """Import one of COMMANDS as a command of click, with its parameters.

    If a package of the extra is missing, a command that says how to install it takes its place.
    """
    # click needs a command with parameters. Typer makes one only of an app that holds it alone.
    single = typer.Typer(**_LOOK)
    try:
        function = getattr(import_module(f"harness.cli.{name}"), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        # Another missing module is a fault of the harness, and must not look like an extra.
        if package not in EXTRA_PACKAGES:
            raise
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        single.command(name, context_settings=settings)(_unavailable(package))
    else:
        single.command(name)(function)
    return typer.main.get_command(single)


def _described(name: str) -> Any:
    """Return a command without parameters that has the docstring of one of COMMANDS."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    (text,) = (
        ast.get_docstring(each)
        for each in ast.parse(source).body
        if isinstance(each, ast.FunctionDef) and each.name == name
    )

    def described() -> None: ...

    described.__doc__ = text
    single = typer.Typer(**_LOOK)
    single.command(name)(described)
    return typer.main.get_command(single)


def _unavailable(package: str) -> Any:
    """Return a command that takes the place of one that cannot be imported."""
    refusal = missing_package(package)

    def refuse() -> None:
        raise refusal

    refuse.__doc__ = f"Unavailable: {refusal}"
    return refuse
