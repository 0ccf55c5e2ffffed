"""Subject: an exporter under measurement, whichever it is and wherever it comes from."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import rfc8785

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.publish import publish_csv, publish_jsonl

DEFAULT_CANDIDATE = "elspeth.core.landscape:LandscapeExporter"
CONTROL = "elspeth.core.landscape:LegacyLandscapeExporter"


class SubjectError(ValueError):
    """What was named as an exporter cannot be used as one."""


class Exporter(Protocol):
    """What a subject builds: it exports a run as records, each a mapping with its type first.

    It may also offer `write_jsonl(run_id, path, sign=False)` and `write_csv(run_id, directory,
    sign=False)`; without them its records are written for it.
    """

    def export_run(self, run_id: str, sign: bool = False) -> Iterable[Mapping[str, Any]]:
        """Yield the records of a run in emission order."""


@dataclass(frozen=True)
class Subject:
    """An exporter class or factory, callable as `(db, signing_key=None)`, with a name to print.

    `reference` is what loads it again in another process; empty when nothing does.
    """

    name: str
    factory: Callable[..., Exporter]
    reference: str = ""

    @property
    def takes_clock(self) -> bool:
        """Whether its manifest's time can be fixed, so that whole files compare."""
        try:
            return "clock" in inspect.signature(self.factory).parameters
        except (TypeError, ValueError):
            return False

    def build(self, db: LandscapeDB, signing_key: bytes | None, clock: Clock) -> Exporter:
        """Make an exporter on `db`; one that takes no clock keeps its own."""
        options: dict[str, Any] = {"clock": clock} if self.takes_clock else {}
        exporter = self.factory(db, signing_key, **options)
        if not callable(getattr(exporter, "export_run", None)):
            raise SubjectError(f"{self.name} makes no exporter: it has no export_run method")
        return exporter


def load_subject(reference: str) -> Subject:
    """Import the exporter that `module:attribute` names, also from the working directory.

    Raises SubjectError when there is no such module or attribute, or importing it fails.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise SubjectError(f"{reference!r} is no exporter: write it as module:attribute")
    if str(Path.cwd()) not in sys.path:
        # `python -m` looks there, an installed command does not.
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise SubjectError(
            f"{reference}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise SubjectError(f"{reference}: {module_name} has no class or function {attribute}")
    return Subject(attribute, factory, reference)


def write_jsonl(exporter: Exporter, run_id: str, path: Path, *, sign: bool) -> None:
    """Have an exporter write a JSON Lines file, or write its records for it."""
    own = getattr(exporter, "write_jsonl", None)
    if own is not None:
        own(run_id, path, sign=sign)
    else:
        records = exporter.export_run(run_id, sign=sign)
        publish_jsonl(path, (rfc8785.dumps(dict(record)) + b"\n" for record in records))


def write_csv(exporter: Exporter, run_id: str, directory: Path, *, sign: bool) -> None:
    """Have an exporter write a directory of CSV files, or write its records for it."""
    own = getattr(exporter, "write_csv", None)
    if own is not None:
        own(run_id, directory, sign=sign)
    else:
        publish_csv(directory, exporter.export_run(run_id, sign=sign))
