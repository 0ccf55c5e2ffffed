"""Subject: the class or function that makes an exporter, loaded by its name.

The harness uses control and candidate through this interface only. It writes the files of an
exporter that has no methods for that.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import rfc8785

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.publish import publish_csv, publish_jsonl
from harness.exporters.probe import exports
from harness.exporters.probe.imports import load_factory
from querygrowth.verdict import CRASH, Outcome, Verdict

DEFAULT_CANDIDATE = "elspeth.core.landscape:LandscapeExporter"
CONTROL = "elspeth.core.landscape:LegacyLandscapeExporter"


class SubjectError(exports.NotAnExporterError):
    """The named exporter cannot be loaded, or is not an exporter."""


class ImportFailedError(SubjectError):
    """The module of the named exporter is there, and its import raises, exits or does not end.

    Attributes:
        verdict: The failed verdict. Its name is not mistyped, so that this is a fault of its code.
    """

    def __init__(self, message: str, name: str) -> None:
        """Keep the failure as a verdict.

        Args:
            message: What the import did, on one line.
            name: The exporter's name.
        """
        super().__init__(message)
        lacks = "ModuleNotFoundError: " in message
        self.verdict = Verdict(
            name,
            Outcome.FAILED,
            expected="a module that can be imported",
            seen=message,
            next_step="the environment: is it installed in that of `harness check --python`?"
            if lacks
            else "the lines of its files that the message names",
            kind=CRASH,
        )


class Exporter(Protocol):
    """Exports a run as records: mappings whose first key is `record_type`.

    Optional methods are `write_jsonl(run_id, path, sign=False)` and `write_csv(run_id, directory,
    sign=False)`. Without them the harness writes the records.
    """

    def export_run(self, run_id: str, sign: bool = False) -> Iterable[Mapping[str, Any]]:
        """Yield the records of a run in emission order."""


@dataclass(frozen=True)
class Subject:
    """An exporter class or factory, called as `(db, signing_key=None)`, and its name in messages.

    `reference` is the `module:attribute` that loads it in another process; empty if it has none.
    """

    name: str
    factory: Callable[..., Exporter]
    reference: str = ""

    @property
    def takes_clock(self) -> bool:
        """Whether the time in its manifest can be set, so that whole files can be compared."""
        return exports.takes_clock(self.factory)

    @property
    def import_root(self) -> Path:
        """The folder that this process imported its top-level package from."""
        # The working directory would be wrong: a folder in it, such as a `harness/` of the user's
        # project, would be imported in another process in place of the package that is meant.
        package = sys.modules.get(self.reference.partition(":")[0].partition(".")[0])
        folders = getattr(package, "__path__", None)
        if folders:
            return Path(folders[0]).parent
        file = getattr(package, "__file__", None)
        return Path(file).parent if file else Path.cwd()

    def build(self, db: LandscapeDB, signing_key: bytes | None, clock: Clock) -> Exporter:
        """Make an exporter.

        Args:
            db: The database to export from.
            signing_key: The key to sign with; None for unsigned exports.
            clock: The clock of the manifest, given only to an exporter that takes one.

        Raises:
            SubjectError: It cannot be called as an exporter. The message is one line.
        """
        try:
            exporter: Exporter = exports.build_exporter(
                self.name, self.factory, db, signing_key, clock
            )
        except exports.NotAnExporterError as error:
            raise SubjectError(str(error)) from None
        return exporter


def load_subject(reference: str) -> Subject:
    """Import the exporter that `module:attribute` names.

    A module that is not installed is looked for in the working directory as well, unless the name
    is the control's or the default candidate's.

    Raises:
        SubjectError: There is no such module or attribute.
        ImportFailedError: The import fails.
    """
    require_reference(reference)
    if reference not in (CONTROL, DEFAULT_CANDIDATE) and str(Path.cwd()) not in sys.path:
        # `python -m` imports from there, an installed command does not. Last, because a file such
        # as `jinja2.py` there must not replace a package that the harness needs.
        sys.path.append(str(Path.cwd()))
    try:
        _, factory = load_factory(reference)
    except exports.BrokenImportError as error:
        raise ImportFailedError(str(error), reference.rpartition(":")[2]) from error
    except exports.NotAnExporterError as error:
        raise SubjectError(str(error)) from error
    return Subject(reference.rpartition(":")[2], factory, reference)


def require_reference(reference: str) -> None:
    """Raise SubjectError unless a text has the form module:attribute."""
    module_name, _, attribute = reference.partition(":")
    is_path = "/" in module_name or module_name.endswith(".py")
    if is_path or not all(module_name.split(".")) or not attribute or ":" in attribute:
        raise SubjectError(f"{reference!r} does not name an exporter: write it as module:attribute")


def require_below(file: Path | None, folder: Path, name: str) -> None:
    """Refuse an exporter that is imported from elsewhere than a folder, and name both.

    Args:
        file: The file that it is imported from; None without one.
        folder: The folder.
        name: The exporter in messages.

    Raises:
        SubjectError: The file is outside the folder.
    """
    # Not resolved as well: a package in the folder may be a symbolic link.
    folders = (folder.resolve(), folder.absolute())
    files = () if file is None else (file, file.resolve())
    if not any(each.is_relative_to(place) for each in files for place in folders):
        found = "without a file" if file is None else f"from {file}"
        package = folder.resolve() / name.partition(":")[0].partition(".")[0]
        hidden = package.is_dir() and not (package / "__init__.py").exists()
        raise SubjectError(
            f"{name} is imported {found}, not from {folder.resolve()}"
            # Python takes a package with an __init__.py first, wherever it lies on the path.
            + hidden
            * f"; {package} has no __init__.py, so name their environment, as with "
            "`harness check --python`"
        )


def write_jsonl(exporter: Exporter, run_id: str, path: Path, *, sign: bool) -> None:
    """Write a JSON Lines file: by the exporter's own method, or its records as canonical JSON.

    Args:
        exporter: The exporter.
        run_id: The run to export.
        path: The file to write.
        sign: Whether to sign.
    """
    # Its own method first: users run that one, and its bytes are the ones to compare.
    own = getattr(exporter, "write_jsonl", None)
    if own is not None:
        own(run_id, path, sign=sign)
    else:
        records = exporter.export_run(run_id, sign=sign)
        publish_jsonl(path, (rfc8785.dumps(dict(record)) + b"\n" for record in records))


def write_csv(exporter: Exporter, run_id: str, directory: Path, *, sign: bool) -> None:
    """Write a directory of CSV files: by the exporter's own method, or from its records.

    Args:
        exporter: The exporter.
        run_id: The run to export.
        directory: The directory to write.
        sign: Whether to sign.
    """
    own = getattr(exporter, "write_csv", None)
    if own is not None:
        own(run_id, directory, sign=sign)
    else:
        publish_csv(directory, exporter.export_run(run_id, sign=sign))
