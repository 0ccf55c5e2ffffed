"""A group of commands that are imported at their first use: one module for each, of its name.

A module holds a function of the same name, and EXAMPLES, the calls that its help ends with.
"""

import ast
import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# Unexpected errors print Python's own traceback: rich's would show local variables, and with them
# the signing key.
LOOK: Any = MappingProxyType(
    {
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": None,
    }
)
"""The settings of every group and command."""

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

LoadCommand = Callable[[str], Any]
"""Imports a command by its name, as a command of click."""


def new_group(
    package: str,
    names: Sequence[str],
    load: LoadCommand | None = None,
    *,
    examples: Sequence[str] = (),
    imports_for_help: Callable[[], bool] = lambda: False,
) -> typer.Typer:
    """Return a group of the commands in a package.

    Args:
        package: The package that holds the modules of the commands.
        names: The commands, in the order of the help.
        load: Imports a command; None takes `load_command`.
        examples: The calls that the help ends with.
        imports_for_help: Whether the list of commands has to import them, because the docstring of
            a command in its file is not what is to be shown.
    """

    class Commands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(names)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in names:
                return None
            return load_command(package, cmd_name) if load is None else load(cmd_name)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            # click imports every command for the first sentence of its docstring.
            if imports_for_help():
                super().format_commands(ctx, formatter)
                return
            limit = formatter.width - 6 - max(map(len, names))
            with formatter.section("Commands"):
                formatter.write_dl(
                    [(name, _described(package, name).get_short_help_str(limit)) for name in names]
                )

    return typer.Typer(
        cls=Commands, context_settings=HELP_OPTIONS, epilog=_shown_examples(examples), **LOOK
    )


def load_command(package: str, name: str) -> Any:
    """Import a command of a package as a command of click, with its parameters and examples."""
    module = import_module(f"{package}.{name}")
    return as_command(name, getattr(module, name), module.EXAMPLES)


def as_command(
    name: str,
    function: Callable[..., object],
    examples: Sequence[str] = (),
    settings: Any = MappingProxyType({}),
) -> Any:
    """Return a function as a command of click.

    Args:
        name: The name of the command.
        function: Its options are those of the command, and its docstring the help.
        examples: The calls that the help ends with.
        settings: Further settings of click.
    """
    # click needs a command with parameters. Typer makes one only of an app that holds it alone.
    single = typer.Typer(**LOOK)
    single.command(
        name,
        epilog=_shown_examples(examples),
        context_settings={**HELP_OPTIONS, **settings},
    )(_with_version(function))
    return typer.main.get_command(single)


_DISTRIBUTION = "elspeth-landscape"


def _show_version(is_given: bool) -> None:
    if is_given:
        # Imported on use: it takes longer than the rest of a start.
        from importlib.metadata import version

        typer.echo(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}")
        raise typer.Exit


VERSION_OPTION: Any = typer.Option(
    "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
)
"""The option --version, which prints the version of the distribution and ends."""


def _with_version(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function of a command with the option --version, which it does not see."""

    @wraps(function)
    def command(*, _version: bool = False, **options: Any) -> object:
        return function(**options)

    added = Annotated[bool, VERSION_OPTION]
    given = inspect.signature(function).parameters.values()
    option = inspect.Parameter(
        "_version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=added
    )
    # Typer reads both, and knows no other way to give an option to many commands.
    command.__signature__ = inspect.Signature([*given, option])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, "_version": added}
    return command


def _shown_examples(examples: Sequence[str]) -> str | None:
    # After \b click keeps line breaks.
    return "\n".join(("\b", "Examples:", *(f"  {each}" for each in examples))) if examples else None


def _described(package: str, name: str) -> Any:
    """Return a command without parameters that has the docstring of one in a package."""
    folder = Path(import_module(package).__path__[0])
    source = (folder / f"{name}.py").read_text(encoding="utf-8")
    (text,) = (
        ast.get_docstring(each)
        for each in ast.parse(source).body
        if isinstance(each, ast.FunctionDef) and each.name == name
    )

    def described() -> None: ...

    described.__doc__ = text
    return as_command(name, described)
