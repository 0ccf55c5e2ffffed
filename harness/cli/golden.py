"""`harness golden`: compare both exporters with stored runs and their signed exports."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elspeth.cli.runtime import ExitCode, UsageError
from harness import packaged
from harness.checks.golden import check_golden, update_golden
from harness.checks.reference_runs import NewDatabase, postgresql_databases, sqlite_files
from harness.cli.candidate import CandidateOption
from harness.cli.console import PostgresqlOption, output_console
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, Subject, load_subject
from harness.report.text import OUTCOME_STYLES
from harness.temporary_folder import temporary_folder
from querygrowth.verdict import Outcome, Verdict, exit_code, overall_outcome

EXAMPLES = (
    "harness golden --check",
    "harness golden --update",
)


def golden(
    check: Annotated[
        bool, typer.Option("--check", help="Compare both exporters with them.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Show the changes that the control would write.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --update: write it.")] = False,
    postgresql: PostgresqlOption = None,
    candidate: CandidateOption = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="Their folder; default: those that come with the harness."),
    ] = None,
) -> int:
    """Compare both exporters with the golden exports.

    They are of SQLite, and of PostgreSQL where a server is given.
    Exit 1 when an exporter writes something else, or --update without --yes finds changes. An
    installed harness writes only where --directory says.
    """
    if check == update or (yes and not update):
        raise UsageError("give either --check, or --update with or without --yes")
    if update and candidate is not None:
        raise UsageError("--update writes the control's exports: leave out --candidate")
    if yes and directory is None and packaged.IS_INSTALLED:
        raise UsageError(
            "--update --yes would write into the installed package: name a folder with --directory"
        )
    folder = directory or packaged.GOLDEN
    subjects = [load_subject(CONTROL), load_subject(candidate or DEFAULT_CANDIDATE)]
    with ExitStack() as stack:
        files = stack.enter_context(temporary_folder())
        backends = {"sqlite": stack.enter_context(sqlite_files(files))}
        if postgresql is not None:
            backends["postgresql"] = stack.enter_context(postgresql_databases(postgresql))
        # The control as well: all comparisons rest on its bytes.
        if check:
            return _check(subjects, backends, folder)
        return _update(subjects[0], backends, folder, write=yes)


def _check(subjects: list[Subject], backends: dict[str, NewDatabase], directory: Path) -> int:
    outcomes = []
    for verdict in _verdicts(subjects, backends, directory):
        outcomes.append(verdict.outcome)
        outcome = Text(f"{verdict.outcome}  ", style=OUTCOME_STYLES[verdict.outcome])
        output_console().print(outcome.append(str(verdict), style="default"), soft_wrap=True)
    return exit_code(overall_outcome(outcomes))


def _verdicts(
    subjects: list[Subject], backends: dict[str, NewDatabase], directory: Path
) -> Iterator[Verdict]:
    for backend, new_database in backends.items():
        for subject in subjects:
            yield from check_golden(subject, backend, new_database, golden=directory)
    if "postgresql" not in backends and (directory / "postgresql").is_dir():
        for subject in subjects:
            yield Verdict(
                subject.name,
                Outcome.SKIPPED,
                "the golden exports of PostgreSQL, to the byte",
                "postgresql: not compared, there is no server",
                next_step="harness golden --check --postgresql URL",
            )


def _update(
    control: Subject, backends: dict[str, NewDatabase], directory: Path, *, write: bool
) -> int:
    # Written only with --yes: golden exports are the record of past bytes, and a person has to read
    # the changes first.
    changes = [
        change
        for backend, new_database in backends.items()
        for change in update_golden(control, backend, new_database, golden=directory, write=write)
    ]
    for change in changes:
        output_console().print(
            f"{change.name}\n{change.difference}\n", markup=False, soft_wrap=True
        )
    done = "written" if write else "to write with --yes"
    output_console().print(f"{len(changes)} golden exports {done}", markup=False)
    return ExitCode.FAILED if changes and not write else ExitCode.PASSED
