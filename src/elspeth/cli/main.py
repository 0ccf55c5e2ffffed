"""The `landscape` command and its list of commands, one module of `elspeth.cli.commands` for each.

To add a command, write elspeth/cli/commands/NAME.py with a function NAME and EXAMPLES, and add NAME
to COMMANDS.
"""

import gc
from typing import Annotated, NoReturn

from elspeth.cli.command_group import VERSION_OPTION, new_group
from elspeth.cli.runtime import run_command

COMMANDS = ("runs", "export", "reconcile", "verify", "attest", "show", "doctor")
"""In the order of `landscape --help`."""

EXAMPLES = (
    "landscape runs --db sqlite:///audit.db",
    "landscape export --db sqlite:///audit.db --run latest --output run.jsonl --sign",
    "landscape verify run.jsonl",
    "landscape export --help",
)

app = new_group("elspeth.cli.commands", COMMANDS, examples=EXAMPLES)


@app.callback()
def _commands(_: Annotated[bool, VERSION_OPTION] = False) -> None:
    """The audit trail of pipeline runs: list, export, verify, attest, show."""


def main() -> NoReturn:
    """Run the `landscape` command."""
    # An export makes no reference cycles, and the search for them took a tenth of its time
    # (docs/performance.md). A library must not switch it off for its caller, a command may.
    gc.disable()
    run_command(app, "landscape", usage_errors=_usage_errors)


def _usage_errors() -> tuple[type[Exception], ...]:
    from elspeth.core.landscape.exporter import ParallelExportError

    return (ParallelExportError,)
