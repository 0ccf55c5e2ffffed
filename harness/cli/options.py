"""Options that several commands take: which checks to run, and the costs that a candidate declares.

The advice of a verdict names these options, so every command that prints verdicts takes them.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from math import isfinite
from types import MappingProxyType
from typing import Annotated

import typer

from elspeth.cli.runtime import UsageError
from elspeth.core.landscape.schema import metadata
from harness.checks.check import Check, Limits
from harness.checks.costs import Declared
from harness.checks.depth import Depth
from harness.checks.selection import GROUPS, Selection, UnknownPartError
from harness.cli.configuration import Configuration
from querygrowth.allowance import Allowance

PartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--part",
        metavar="NAME",
        help="Run only this check or group; repeatable. "
        f"Checks: {', '.join(Check)}. Groups: {', '.join(GROUPS)}.",
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Only the first verdicts, within seconds.")
]
AllOption = Annotated[
    bool, typer.Option("--all", help="All checks, and all that they can try; takes minutes.")
]
ChunkedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--chunked",
        metavar="TABLE=SIZE",
        help="Declare a table that the candidate reads in chunks of SIZE values; repeatable.",
    ),
]
TransactionsOption = Annotated[
    int | None,
    typer.Option(
        "--transactions",
        min=1,
        metavar="N",
        show_default=str(Declared.transactions),
        help="Declare the most transactions of an export.",
    ),
]
RowsPerRecordOption = Annotated[
    float | None,
    typer.Option(
        "--rows-per-record",
        min=0,
        metavar="X",
        show_default=str(Declared.rows_per_record),
        help="Declare the most fetched rows for a record.",
    ),
]
BytesPerRecordOption = Annotated[
    int | None,
    typer.Option(
        "--bytes-per-record",
        min=0,
        metavar="N",
        show_default=str(Declared.bytes_per_record),
        help="Declare the most bytes of memory that a further record takes.",
    ),
]
WorkerProcessesOption = Annotated[
    bool,
    typer.Option(
        "--worker-processes",
        help="Declare that the candidate starts processes. What they send cannot be counted.",
    ),
]


LimitOption = Annotated[
    float | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="SECONDS",
        show_default=f"{Limits.seconds:g}, more for slow checks",
        help="Stop an export that takes longer: it hangs.",
    ),
]


def limits_of(seconds: float | None) -> Limits:
    """Return the limits of --limit: one for all checks, or those of `Limits` without it."""
    return Limits() if seconds is None else Limits(seconds, MappingProxyType({}))


def refuse_options(context: typer.Context, taken: Collection[str], reason: str) -> None:
    """Refuse an option that was given and would be ignored.

    Args:
        context: The command's context.
        taken: The names of the parameters that are not ignored.
        reason: Follows the option in the message.

    Raises:
        UsageError: Names the first such option.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and option.name not in taken:
            raise UsageError(f"{option.opts[0]} {reason}")


def selection_of(parts: Sequence[str] | None, *, quick: bool, every: bool) -> Selection:
    """Return the selection of --part, --quick and --all.

    Args:
        parts: Names of checks and groups.
        quick: Whether checks try as little as possible. Without parts it also selects fewer.
        every: Whether checks try all they can. Without parts it also selects all.

    Raises:
        UsageError: --quick and --all were both given, or a part is unknown.
    """
    if quick and every:
        raise UsageError("--quick and --all contradict each other: leave one of them out")
    depth = Depth.QUICK if quick else Depth.ALL if every else Depth.DEFAULT
    if not parts:
        return Selection.of_depth(depth)
    try:
        return Selection.of_parts(tuple(parts), depth)
    except UnknownPartError as error:
        raise UsageError(f"--part: {error}") from error


def declared_costs(
    saved: Configuration,
    *,
    chunked: Sequence[str] | None = None,
    transactions: int | None = None,
    rows_per_record: float | None = None,
    bytes_per_record: int | None = None,
    worker_processes: bool = False,
) -> Declared:
    """Return the costs that the options declare, or else the saved configuration.

    Args:
        saved: The saved configuration, with what the options leave out.
        chunked: Texts TABLE=SIZE.
        transactions: The most transactions of an export.
        rows_per_record: The most fetched rows for a record.
        bytes_per_record: The most bytes of memory that a further record takes.
        worker_processes: Whether the candidate starts processes.

    Raises:
        UsageError: A text of `chunked` is not TABLE=SIZE, the database has no such table, or a
            number is not finite.
    """
    if rows_per_record is not None and not isfinite(rows_per_record):
        raise UsageError(f"--rows-per-record: {rows_per_record} is not a number of rows")
    default = Declared()
    numbers = {
        "transactions": transactions,
        "rows_per_record": rows_per_record,
        "bytes_per_record": bytes_per_record,
    }
    for name, given in numbers.items():
        values = (given, getattr(saved, name), getattr(default, name))
        numbers[name] = next(each for each in values if each is not None)
    chunks = [_chunk(each) for each in chunked] if chunked else list(saved.chunked.items())
    return replace(
        default,
        **numbers,  # type: ignore[arg-type]  # by the names of its fields
        allowances=tuple(
            _allowance(*each, "chunked" if chunked else saved.file) for each in chunks
        ),
        worker_processes=worker_processes or bool(saved.worker_processes),
    )


def _chunk(text: str) -> tuple[str, int]:
    table, _, size = text.partition("=")
    # A query for every single value is what the checks look for.
    if not size.isdecimal() or int(size) < 2:
        raise UsageError(f"--chunked {text!r}: not TABLE=SIZE, with a size of at least 2")
    return table, int(size)


def _allowance(table: str, size: int, source: object) -> Allowance:
    if table not in metadata.tables:
        nearest = get_close_matches(table, metadata.tables, n=1, cutoff=0)[0]
        place = "--chunked" if source == "chunked" else f"{source}: chunked"
        raise UsageError(f"{place}: there is no table {table!r}; the nearest is {nearest!r}")
    return Allowance(table, chunk=size)
