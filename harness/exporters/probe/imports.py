"""Import the exporter, and explain a failed import by the lines of the exporter's own files."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType, ModuleType
from typing import Any

from .exports import MESSAGE_LENGTH, BrokenImportError, NotAnExporterError, one_line

_LEAST_SQLALCHEMY = 2
_SHOWN_LINES = 3
_HARNESS = Path(__file__).parents[2]
# The exporters that the harness is tried on stand for user code.
_EXAMPLES = tuple(f"{_HARNESS / name}{os.sep}" for name in ("fixtures", "mutants"))


def load_factory(
    reference: str,
    folders: Sequence[str] = (),
    *,
    where: str = "",
    seconds: float | None = None,
    give_up: Callable[[str], object] = lambda message: None,
) -> tuple[ModuleType, Callable[..., Any]]:
    """Import the class or function that makes the exporter.

    Args:
        reference: The exporter as module:attribute.
        folders: The folders that hold its own files; empty: all that is not installed.
        where: The environment in words for messages, such as "in the subject's environment PATH".
        seconds: The time after which an import counts as hanging.
        give_up: Called from another thread with the message when that time has passed.

    Raises:
        NotAnExporterError: There is no such module or attribute.
        BrokenImportError: The import fails. The message is one line, and ends with the lines of the
            exporter's files that the error came from.
    """
    name, _, attribute = reference.partition(":")
    place = f" {where}" if where else ""

    def late(frame: FrameType) -> None:
        shown = _shown_lines(((each.f_code.co_filename, at) for each, at in walk_stack(frame)), own)
        give_up(f"{reference}: importing {name}{place} did not end within {seconds:g} s{shown}")

    own = _OwnFiles(folders)
    try:
        with _watched(seconds, late):
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # Importing runs the user's code.
        reason = one_line(error, named=True)
        if isinstance(error, SystemExit):
            reason = f"it ended with sys.exit({error.code!r:.40})"
        shown = _shown_lines(_lines_of(error), own)
        raise (NotAnExporterError if _is_missing(name, error) else BrokenImportError)(
            f"{reference}: importing {name} failed{place}: {reason}{shown}"
        ) from error
    factory = attribute_of(module, attribute)
    if factory is not None and not callable(factory):
        raise NotAnExporterError(
            f"{reference}: {attribute} is a {type(factory).__qualname__}, not a class or function"
        )
    if factory is None:
        raise NotAnExporterError(
            f"{reference}: {name} has no class or function {attribute}{_nearest(module, attribute)}"
        )
    return module, factory


def load_package(name: str, folder: Path) -> None:
    """Import the package in a folder, without making its neighbours importable."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def attribute_of(module: ModuleType, path: str) -> Any:
    """Return what `Name` or `Class.method` names in a module; None if there is none."""
    # A module with `__getattr__` may have names with dots, such as those of mutants.
    found: Any = getattr(module, path, None)
    if found is not None:
        return found
    found = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _is_missing(module: str, error: BaseException) -> bool:
    """Whether an error says that a module, or a package that it is in, does not exist."""
    # The name was mistyped then. A module that it imports and that is missing is its own fault.
    found = error.name if isinstance(error, ModuleNotFoundError) else None
    return found is not None and f"{module}.".startswith(f"{found}.")


def require_sqlalchemy(where: str) -> None:
    """Raise NotAnExporterError unless SQLAlchemy can be imported here, in a version that works."""
    if importlib.util.find_spec("sqlalchemy") is None:
        raise NotAnExporterError(
            f"SQLAlchemy is not installed {where}: exports are counted with it"
        )
    version = str(importlib.import_module("sqlalchemy").__version__)
    if int(version.partition(".")[0]) < _LEAST_SQLALCHEMY:
        raise NotAnExporterError(
            f"SQLAlchemy {version} {where} is too old: {_LEAST_SQLALCHEMY}.0 or newer is needed"
        )


class _OwnFiles:
    """Tells the exporter's own files from those of libraries, of Python and of the harness."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = tuple(f"{Path(each).resolve()}{os.sep}" for each in folders)
        libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")}
        self._others = (*(f"{each}{os.sep}" for each in libraries), f"{_HARNESS}{os.sep}", "<")

    def __contains__(self, filename: object) -> bool:
        path = str(filename)
        if self._folders:
            return str(Path(path).resolve()).startswith(self._folders)
        return path.startswith(_EXAMPLES) or not path.startswith(self._others)


def _lines_of(error: BaseException) -> Iterator[tuple[str, int]]:
    """Yield file and line of every step to an error, the innermost first."""
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename, error.lineno or 0
    frames = list(walk_tb(error.__traceback__))
    yield from ((frame.f_code.co_filename, line) for frame, line in reversed(frames))
    if error.__cause__ is not None:
        yield from _lines_of(error.__cause__)


def _shown_lines(places: Iterable[tuple[str, int]], own: _OwnFiles) -> str:
    """Return the innermost lines of the exporter's own files, in words; empty if there are none."""
    found = list(dict.fromkeys(each for each in places if each[0] in own))[:_SHOWN_LINES]
    texts = [(f"{file}:{line}", linecache.getline(file, line).strip()) for file, line in found]
    shown = [f"{place} ({code})" if code else place for place, code in texts]
    return f"; at {', from '.join(shown)}"[: 2 * MESSAGE_LENGTH] if shown else ""


def _nearest(module: ModuleType, attribute: str) -> str:
    names = [each for each in vars(module) if callable(getattr(module, each, None))]
    nearest = get_close_matches(attribute, names, n=1)
    return f"; the nearest is {nearest[0]}" if nearest else ""


@contextmanager
def _watched(seconds: float | None, late: Callable[[FrameType], None]) -> Iterator[None]:
    """Call `late` with the innermost frame of this thread if the block lasts too long."""
    if seconds is None:
        yield
        return
    watched = threading.get_ident()
    timer = threading.Timer(seconds, lambda: late(sys._current_frames()[watched]))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
