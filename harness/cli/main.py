"""The `harness` command and its list of commands, one module of `harness.cli` for each.

To add a command, write harness/cli/NAME.py with a function NAME and EXAMPLES, and add NAME to
COMMANDS.
"""

from importlib.util import find_spec
from typing import Annotated, Any, NoReturn

from elspeth.cli.command_group import VERSION_OPTION, as_command, new_group
from elspeth.cli.command_group import load_command as load_from
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


def load_command(name: str) -> Any:
    """Import one of COMMANDS as a command of click, with its parameters.

    If a package of the extra is missing, a command that says how to install it takes its place.
    """
    try:
        return load_from(_PACKAGE, name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        # Another missing module is a fault of the harness, and must not look like an extra.
        if package not in EXTRA_PACKAGES:
            raise
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        return as_command(name, _unavailable(package), settings=settings)


def _lacks_packages() -> bool:
    return any(find_spec(package) is None for package in EXTRA_PACKAGES)


_PACKAGE = "harness.cli"
EXAMPLES = (
    "harness check --src THEIR/src --python THEIR/venv --quick",
    "harness gate --src THEIR/src --python THEIR/venv --base origin/main",
    "harness check --help",
)

app = new_group(
    _PACKAGE, COMMANDS, load_command, examples=EXAMPLES, imports_for_help=_lacks_packages
)


@app.callback()
def _commands(_: Annotated[bool, VERSION_OPTION] = False) -> None:
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


def _unavailable(package: str) -> Any:
    """Return a command that takes the place of one that cannot be imported."""
    refusal = missing_package(package)

    def refuse() -> None:
        raise refusal

    refuse.__doc__ = f"Unavailable: {refusal}"
    return refuse
