"""The environment of checks: reference runs on every backend, the control, and a folder."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.exporters.measured import InThisProcess, Measured
from harness.exporters.subject import CONTROL, load_subject
from harness.temporary_folder import temporary_folder


@dataclass(frozen=True)
class CheckSetup:
    """The environment of checks: reference runs by backend, the control, and a folder for files.

    There are runs on PostgreSQL only if a server was named. If `is_strict`, an error that the
    candidate's process did not raise ends the checks, and is not a failure of the candidate.
    """

    runs: Mapping[str, ReferenceRuns]
    control: Measured
    directory: Path
    is_strict: bool = False


@contextmanager
def prepare_checks(
    *,
    postgresql: str | None = None,
    options: str = "",
    max_records: int | None = None,
    is_strict: bool = False,
) -> Iterator[CheckSetup]:
    """Prepare for checks of several candidates, and remove all databases and files on exit.

    Args:
        postgresql: URL of a server on which databases may be created. Without it, checks run on
            SQLite only.
        options: Text to add to the statements CREATE DATABASE.
        max_records: The records after which an export counts as endless. The default depends on the
            number of records that the control exports.
        is_strict: Whether an error of the harness raises BrokenRunnerError. For candidates of
            `in_own_process` only: a class of this process raises its errors here.
    """
    control = InThisProcess(load_subject(CONTROL))
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_folder())
        sources = {"sqlite": sqlite_files(directory)}
        if postgresql:
            sources["postgresql"] = postgresql_databases(postgresql, options=options)
        runs = {}
        for backend, source in sources.items():
            (directory / backend).mkdir()
            new_database = stack.enter_context(source)
            runs[backend] = stack.enter_context(
                ReferenceRuns(
                    new_database,
                    directory / backend,
                    control=control.loaded,
                    max_records=max_records,
                )
            )
        yield CheckSetup(MappingProxyType(runs), control, directory, is_strict)
