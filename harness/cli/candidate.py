"""The exporter on trial, as the options of a command and the saved configuration name it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.runtime import UsageError
from elspeth.core.landscape import LandscapeDB, LegacyLandscapeExporter
from harness.checks.declared import Declared
from harness.checks.declared import chunked as chunked_table
from harness.cli.configuration import TABLE, Configuration, find_configuration, load_configuration
from harness.cli.console import tell
from harness.compare.exports import fixed_clock
from harness.exporters.measured import InOwnProcess, Measured, in_own_process, measured
from harness.exporters.observation import ExportTask
from harness.exporters.probe.exports import definition_of
from harness.exporters.subject import DEFAULT_CANDIDATE
from harness.exporters.subprocess_probe import START_SECONDS
from harness.temporary_folder import temporary_folder
from querygrowth.contracts.allowance import Allowance
from querygrowth.places.call_sites import CallSite

CandidateOption = Annotated[
    str | None,
    typer.Option(
        "--candidate",
        metavar="MODULE:ATTRIBUTE",
        show_default=DEFAULT_CANDIDATE,
        help="The exporter on trial.",
    ),
]
SrcOption = Annotated[
    Path | None,
    typer.Option(
        "--src",
        exists=True,
        file_okay=False,
        help="Import the candidate from this directory, in its own process.",
    ),
]
PythonOption = Annotated[
    str | None,
    typer.Option(
        "--python",
        metavar="PATH",
        help="Run the candidate with this interpreter, or that of this virtual environment.",
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="MODULE:CALLABLE",
        help="What opens the database for the candidate, called with a URL. "
        "Default: its LandscapeDB.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Saved options as TOML. Default: "
        f"[tool.{TABLE}] of the pyproject.toml of --src, or of the working directory.",
    ),
]
ControlOption = Annotated[
    bool,
    typer.Option(
        "--control", help="Allow the control as the candidate: every comparison then passes."
    ),
]


_OUR_PACKAGES = ("elspeth", "harness")


@dataclass(frozen=True)
class Candidate:
    """The exporter on trial, where it is, and what it declares to cost.

    Attributes:
        reference: The exporter, as module:attribute.
        src: The directory to import it from; None for this environment's.
        python: Its interpreter or virtual environment; None for this one.
        database: What opens the database there, as module:attribute; empty for its LandscapeDB.
        declared: The costs that it declares.
        start_seconds: The limit of its import.
        allows_control: Whether it may be the control.
    """

    reference: str = DEFAULT_CANDIDATE
    src: Path | None = None
    python: str | None = None
    database: str = ""
    declared: Declared = field(default_factory=Declared)
    start_seconds: float = START_SECONDS
    allows_control: bool = False

    @property
    def sources(self) -> Path:
        """The folder whose commit the results are about."""
        return self.src or Path.cwd()

    @property
    def is_foreign(self) -> bool:
        """Whether it is in another environment."""
        return self.src is not None or self.python is not None or bool(self.database)

    def in_own_process(self) -> InOwnProcess:
        """Return it in a process that it has for itself.

        Raises:
            SubjectError: It cannot be loaded, cannot open a database, or is imported from outside
                `src`.
            UsageError: It is the control, and that was not allowed.
        """
        exporter = in_own_process(
            self.reference,
            src=self.src,
            python=self.python,
            database=self.database,
            start_seconds=self.start_seconds,
        )
        try:
            self._require(exporter)
        except BaseException:
            exporter.close()
            raise
        return exporter

    def measured(self) -> Measured:
        """Return it for measurements: in this process if it is one of ours.

        Any other may end or stop the process that imports it. Raises the errors of
        `in_own_process`.
        """
        if self.is_foreign or self.reference.partition(".")[0] not in _OUR_PACKAGES:
            return self.in_own_process()
        found = measured(self.reference)
        self._require(found)
        return found

    def _require(self, exporter: Measured) -> None:
        place = exporter.defined_at
        if place is not None and _is_control(place) and not self.allows_control:
            raise UsageError(
                f"{self.reference} is the control, which always equals itself: name another "
                "--candidate, or allow it with --control"
            )
        if not self.is_foreign and place is not None:
            self._tell_other_copy(place)
        if not isinstance(exporter, InOwnProcess) or not self.is_foreign:
            return
        # Before anything is measured: the database of another environment may need other arguments.
        with (
            temporary_folder() as directory,
            LandscapeDB(f"sqlite:///{directory / 'open.db'}") as db,
        ):
            exporter.open_database(ExportTask(db, "", None, fixed_clock, directory))
        described = exporter.process.description
        tell(f"{self.reference} from {described['file']}, Python {described['python']}")

    def _tell_other_copy(self, place: CallSite) -> None:
        """Say which copy is judged where the working directory holds another one."""
        package = self.reference.partition(":")[0].partition(".")[0]
        for folder in (Path.cwd() / "src", Path.cwd()):
            is_that = Path(place.path).resolve().is_relative_to(folder.resolve())
            if (folder / package).is_dir() and not is_that:
                tell(f"{self.reference} from {place.path}, and not from {folder}: for that, --src")
                return


def saved_configuration(config: Path | None, src: Path | None) -> Configuration:
    """Return the settings of --config, or those that the project of the candidate has saved.

    Args:
        config: The file of --config.
        src: The directory of --src, whose project is looked at in place of the working directory's.

    Raises:
        ConfigurationError: The file cannot be used.
    """
    saved = find_configuration(src or Path.cwd()) if config is None else load_configuration(config)
    if saved.file is not None:
        tell(f"settings of {saved.file}")
    return saved


def chosen_candidate(
    saved: Configuration,
    *,
    candidate: str | None,
    src: Path | None = None,
    python: str | None = None,
    database: str | None = None,
    declared: Declared | None = None,
    limit: float | None = None,
    control: bool = False,
) -> Candidate:
    """Return the candidate of the options; the saved configuration has what they leave out.

    Args:
        saved: The saved configuration.
        candidate: The value of --candidate.
        src: The value of --src.
        python: The value of --python.
        database: The value of --database.
        declared: The costs that the options and the configuration declare.
        limit: The value of --limit, which an import must not exceed either.
        control: The value of --control.

    Raises:
        UsageError: A saved folder does not exist.
    """
    folder = src or (None if saved.src is None else Path(saved.src))
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{saved.file}: src: {folder} is not a directory")
    return Candidate(
        candidate or saved.candidate or DEFAULT_CANDIDATE,
        folder,
        python or saved.python,
        database or saved.database or "",
        declared or declared_costs(saved),
        START_SECONDS if limit is None else limit,
        control,
    )


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
        chunked: Texts TABLE=SIZE or TABLE=SIZE:ROWS.
        transactions: The most transactions of an export.
        rows_per_record: The most fetched rows for a record.
        bytes_per_record: The most bytes of memory that a further record takes.
        worker_processes: Whether the candidate starts processes.

    Raises:
        UsageError: A text of `chunked` has another form, the database has no such table, or a
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
    source = "--chunked" if chunked else f"{saved.file}: chunked"
    chunks = chunked or [f"{table}={size}" for table, size in saved.chunked.items()]
    return replace(
        default,
        **numbers,  # type: ignore[arg-type]  # by the names of its fields
        allowances=tuple(_allowance(each, source) for each in chunks),
        worker_processes=worker_processes or bool(saved.worker_processes),
    )


def _allowance(text: str, source: str) -> Allowance:
    try:
        return chunked_table(text)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None


def _is_control(place: CallSite) -> bool:
    """Whether a class is that of the control, under any name."""
    control = definition_of(LegacyLandscapeExporter, "")
    return control is not None and [place.path, place.line] == control[:2]
