"""`harness generate`: store a generated run in a database, tiny or of millions of records."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elspeth.cli.runtime import UsageError, one_line, open_database
from harness.cli.console import output_console, progress_bar
from harness.generate.generator import GeneratedRun, generate_run
from harness.generate.presets import PRESETS, preset
from harness.generate.spec import RunSpec


class WriterName(StrEnum):
    """How a run is written; both writers store the same contents."""

    BULK = "bulk"
    RECORDER = "recorder"


def generate(
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="The database; made where missing.")
    ] = None,
    preset_name: Annotated[
        str, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}.")
    ] = "typical",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Source rows; the preset's own without it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another run.")] = 0,
    run: Annotated[str, typer.Option(metavar="ID", help="Its run id.")] = "run",
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A spec as JSON, instead of a preset.")
    ] = None,
    writer: Annotated[WriterName, typer.Option(help="In bulk, or as a pipeline would.")] = (
        WriterName.BULK
    ),
    show_spec: Annotated[
        bool, typer.Option("--show-spec", help="Print the spec as JSON and store nothing.")
    ] = False,
) -> None:
    """Store the run of a preset or a spec, whole or not at all; a taken run id is refused."""
    if spec is None:
        wanted = preset(preset_name, rows, seed=seed, run_id=run)
    else:
        wanted = RunSpec.from_json(spec.read_text(encoding="utf-8"))
    if show_spec:
        typer.echo(wanted.to_json())
        return
    if db is None:
        raise UsageError("--db is missing: name the database to store the run in")
    with open_database(db) as landscape, progress_bar("rows") as progress:
        generated = generate_run(landscape, wanted, writer=writer.value, progress=progress)
    _report(generated)


def _report(generated: GeneratedRun) -> None:
    counts = generated.cardinalities
    output_console().print(
        Text(
            f"{one_line(generated.run_id)}: {counts.rows:,} rows, {counts.tokens:,} tokens, "
            f"{counts.node_states:,} node states, {counts.records:,} records"
        )
    )
