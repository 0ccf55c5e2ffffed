"""`harness baseline`: exact counts against the accepted ones; --update accepts the new ones."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elspeth.cli.runtime import ExitCode, UsageError
from harness import packaged
from harness.bench.baseline import (
    DEFAULT_BASELINE,
    Costs,
    count_costs,
    judge_costs,
    load_baseline,
    merged,
    save_baseline,
)
from harness.bench.results import Judgement, Topic
from harness.cli.candidate import (
    CandidateOption,
    ConfigOption,
    DatabaseOption,
    PythonOption,
    SrcOption,
    chosen_candidate,
    saved_configuration,
)
from harness.cli.console import output_console
from harness.exporters.measured import ExportFailedError
from harness.report.text import render_judgements
from harness.temporary_folder import temporary_folder
from querygrowth.reports import visible_verdict
from querygrowth.verdict import exit_code, overall_outcome

EXAMPLES = (
    "harness baseline",
    "harness baseline --update",
)


def baseline(
    update: Annotated[
        bool, typer.Option("--update", help="Accept the counts as the new baseline.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="The baseline; default: the one that comes with the harness."),
    ] = None,
    candidate: CandidateOption = None,
    src: SrcOption = None,
    python: PythonOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
) -> int:
    """Judge the exact counts of a few small runs by the accepted ones.

    Every query shape is judged, and the work of the database and of Python.
    Work counts are accepted for the versions of SQLite and Python in use; those of other versions
    stay. Exit 1 when a count is above the accepted one. An installed harness writes only where
    --file says. An exporter of another checkout needs a baseline file of that checkout.
    """
    saved = saved_configuration(config, src)
    chosen = chosen_candidate(
        saved, candidate=candidate, src=src, python=python, database=database, control=True
    )
    if chosen.is_foreign and file is None:
        raise UsageError(
            "the baseline of the harness is about its own exporter: name one of this checkout "
            "with --file"
        )
    if update and file is None and packaged.IS_INSTALLED:
        raise UsageError(
            "--update would write into the installed package: name a baseline with --file"
        )
    path = file or DEFAULT_BASELINE
    # A baseline that does not exist yet can be written, but nothing can be judged by it.
    earlier = load_baseline(path) if path.exists() or not update else None
    try:
        with (
            chosen.measured() as exporter,
            temporary_folder() as directory,
        ):
            found = count_costs(exporter, directory)
    except ExportFailedError as error:
        output_console().print(render_judgements([Judgement(Topic.BASELINE, error.verdict)]))
        output_console().print(Text(f"\n{visible_verdict(error.verdict)}"))
        return ExitCode.FAILED
    if update:
        save_baseline(merged(found, earlier), path)
        output_console().print(f"wrote {path}", markup=False, soft_wrap=True)
        return ExitCode.PASSED
    return _judge(found, earlier)


def _judge(found: Costs, earlier: Costs | None) -> int:
    verdicts = judge_costs(found, earlier) if earlier else ()
    judgements = [Judgement(Topic.BASELINE, each) for each in verdicts]
    output_console().print(render_judgements(judgements))
    # Counts of versions that nobody has accepted yet are no failure of the exporter.
    return exit_code(overall_outcome(each.outcome for each in verdicts), strict=False)
