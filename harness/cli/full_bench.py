"""`harness bench --full`: what an export reaches at up to 50 times the usual size."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.table import Column, Table

from elspeth.cli.runtime import ExitCode
from harness.bench.full import Figure, FullBench
from harness.cli.console import output_console, tell


def full_bench(*, rows: int, rounds: int, seed: int, output: Path) -> int:
    """Measure, print one table, and write full.json into the output folder.

    Exit 1 when a number is not reached.
    """
    with tempfile.TemporaryDirectory(prefix="harness-full-") as directory:
        figures = list(FullBench(rows, rounds, seed, Path(directory), tell).figures())
    output.mkdir(parents=True, exist_ok=True)
    written = json.dumps([asdict(figure) for figure in figures], indent=1)
    (output / "full.json").write_text(written + "\n")
    output_console().print(_table(figures))
    return ExitCode.FINE if all(figure.is_reached for figure in figures) else ExitCode.NOT_FINE


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", Column("measured", justify="right"), "agreed", "", box=None)
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:,.2f} {figure.unit}",
            _agreed(figure),
            "reached" if figure.is_reached else "missed",
        )
    return table


def _agreed(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"at least {figure.at_least:g}"
    return "" if figure.at_most is None else f"at most {figure.at_most:g}"
