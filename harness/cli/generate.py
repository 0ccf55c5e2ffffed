"""`harness generate`: store a generated run in a database."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elspeth.cli.databases import open_database
from elspeth.cli.runtime import UsageError
from elspeth.core.error_text import one_line
from harness.cli.console import output_console, progress_bar
from harness.generate.generator import RunExistsError, generate_run
from harness.generate.presets import PRESETS, preset
from harness.generate.spec import MAX_COUNT, ImpossibleSpecError, RunSpec

EXAMPLES = (
    "harness generate --db sqlite:///audit.db",
    "harness generate --preset wide --rows 1000 --run big --db sqlite:///audit.db",
    "harness generate --preset tiny --show-spec",
)

_DEFAULT_PRESET = "typical"
_DEFAULT_RUN_ID = "run"
_DEFAULT_SEED = 0


def generate(
    db: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The database to store the run in; made where missing."),
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}. Default: {_DEFAULT_PRESET}."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Source rows. Default: those of the preset."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help=f"Another seed gives another run. Default: {_DEFAULT_SEED}.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help=f"The run id. Default: {_DEFAULT_RUN_ID}.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A spec as JSON, instead of a preset.")
    ] = None,
    show_spec: Annotated[
        bool, typer.Option("--show-spec", help="Print the spec as JSON and store nothing.")
    ] = False,
) -> None:
    """Store a generated run in a database, whole or not at all.

    The run is that of a preset or a spec. A run id that is taken is refused.
    """
    if spec is None:
        name = _DEFAULT_PRESET if preset_name is None else preset_name
        source = f"--preset {name}"
        wanted = _from_preset(
            name,
            rows,
            seed=_DEFAULT_SEED if seed is None else seed,
            run_id=_DEFAULT_RUN_ID if run is None else run,
        )
    else:
        # These have no default in the signature, so that one given beside a file is noticed.
        beside = {"--preset": preset_name, "--rows": rows, "--seed": seed, "--run": run}
        if given := [option for option, value in beside.items() if value is not None]:
            raise UsageError(f"{given[0]} does not go with --spec: the file gives every value")
        source = f"--spec {spec}"
        wanted = _from_file(spec)
    if show_spec:
        typer.echo(wanted.to_json())
        return
    if db is None:
        raise UsageError("--db is missing: name the database to store the run in")
    with open_database(db) as landscape, progress_bar("rows") as progress:
        try:
            generated = generate_run(landscape, wanted, progress=progress)
        except RunExistsError as error:
            raise UsageError(f"{source if spec else '--run'}: {error}") from error
        except ImpossibleSpecError as error:
            raise UsageError(f"{source}: {error}") from error
    counts = generated.cardinalities
    output_console().print(
        Text(
            f"{one_line(generated.run_id)}: {counts.rows:,} rows, {counts.tokens:,} tokens, "
            f"{counts.node_states:,} node states, {counts.records:,} records"
        )
    )


def _from_preset(name: str, rows: int | None, *, seed: int, run_id: str) -> RunSpec:
    """Return the spec of a preset; UsageError names the option that has to change."""
    try:
        return preset(name, rows, seed=seed, run_id=run_id)
    except ImpossibleSpecError as error:
        if error.field == "preset":
            raise UsageError(f"--preset: {error}") from error
        if error.field == "run_id":
            raise UsageError(f"--run: {error}") from error
        if error.field == "rows" and rows is not None:
            least = _least_rows(name, rows)
            raise UsageError(
                f"--rows {rows}: the preset {name} needs at least {least} rows"
            ) from error
        raise UsageError(f"--preset {name}: {error}") from error


def _least_rows(name: str, rows: int) -> int:
    """Find the least number of rows with which a preset is possible."""
    # A refusal names the rows that one part of the spec needs, and another part may need more.
    while True:
        try:
            preset(name, rows)
        except ImpossibleSpecError as error:
            if error.least is None:
                raise
            rows = error.least
        else:
            return rows


def _from_file(path: Path) -> RunSpec:
    try:
        return RunSpec.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--spec {path}: {error.strerror}") from error
    except ValueError as error:
        # Bytes that are not UTF-8 raise a ValueError too.
        raise UsageError(f"--spec {path}: {error}") from error
