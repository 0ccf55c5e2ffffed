"""Observe an export: record all that it sends, and find which source files are the exporter's."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import Any

from sqlalchemy import event

from querygrowth.counting.record import Record, record
from querygrowth.counting.statements import StatementKind, kind_of
from querygrowth.counting.work import VM_STEPS, has_vm_steps
from querygrowth.places.call_sites import CallSite, Place, Project, call_site, distinct_sites
from querygrowth.places.stack import StackWalker

from .exports import Build, write_records

# This folder and those beside it are the harness's. Its fixtures and mutants stand for user code.
_HARNESS = Path(__file__).parents[2]


def project_of_subject(root: Path | None = None) -> Project:
    """The code below `root` (default: the working directory), without the harness's own frames.

    The harness holds the exporters of `harness.fixtures` and `harness.mutants`: those are subjects.
    """
    own = [path for path in _HARNESS.iterdir() if path.name not in ("fixtures", "mutants")]
    return Project(root, passed_over=own)


def project_of(factory: object) -> Project:
    """The files in which the call sites of an exporter are looked for.

    These are the files below the working directory if the exporter is one of them, else the files
    of the exporter's directory.
    """
    # An installed exporter lies in site-packages, and an empty working directory has no call site.
    here, source = project_of_subject(), source_file(factory)
    if source is None or here.contains(str(source)):
        return here
    return project_of_subject(source.parent)


def source_file(factory: object) -> Path | None:
    """Return the file of the source of a class or function; None if it has none."""
    try:
        return Path(inspect.getfile(factory))  # type: ignore[arg-type]  # refused with TypeError
    except (OSError, TypeError):  # A builtin, an object such as a partial, or code from a prompt.
        return None


class SourceFolders(Project):
    """The code of an exporter and of its base classes, wherever they are installed.

    That is the package of every class, or the folder of a module outside packages. It is empty if
    there is no source, as for a factory that is written in C.
    """

    # Not the working directory: exact counts must not depend on where the command is started.
    def __init__(self, factory: object) -> None:
        super().__init__()
        classes = _classes_of(factory)
        folders = dict.fromkeys(folder for each in classes if (folder := _package_of(each)))
        self._folders = [project_of_subject(folder) for folder in folders]

    def contains(self, filename: str) -> bool:
        """Whether a file lies in one of the folders."""
        return any(each.contains(filename) for each in self._folders)


def observe(
    export: Callable[[], object],
    engine: Any,
    factory: object,
    work: Iterable[str],
    *,
    in_packages: bool = False,
) -> Record:
    """Perform an export with all counters attached.

    Args:
        export: Exports once.
        engine: The engine of the export.
        factory: The class or function that makes the exporter.
        work: The deterministic counts to take: VM_STEPS (left out where the database has none), and
            BRANCHES, which make an export about 20 times slower.
        in_packages: Where branches are counted: in the packages of the exporter and its base
            classes, or only in the folder of the exporter.
    """
    project = project_of(factory)
    # Who asks for the observation does not call the exporter: this differs between processes.
    around = StackWalker(project).callers(sys._getframe()).chain
    counted = [each for each in work if each != VM_STEPS or has_vm_steps(engine)]
    if VM_STEPS in counted:
        # SQLite reads its schema at the first statement of a connection, and counts the steps.
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 0")
    # In the folder alone, a loop in the exporter is not lost among the branches of its bases.
    source = source_file(factory)
    folder = project_of_subject(source.parent if source else None)
    branches_in = SourceFolders(factory) if in_packages else folder
    found = record(
        export,
        engine,
        work=counted,
        project=project,
        branches_in=branches_in,
        all_connections=True,
    )
    sent = found.recording.executions
    for each in sent:
        if each.callers:
            each.callers = each.callers.with_chain(_within(each.callers.chain, around))
    lines = _lines_of_exporter(
        factory, {each.sql: each.callers.chain for each in sent if each.callers}
    )
    for each in sent:
        if each.callers and (line := lines.get(each.sql)):
            each.callers = each.callers.with_chain([line])
    return found


def _within(chain: Sequence[Place], around: Sequence[Place]) -> tuple[Place, ...]:
    """Return the places of a chain before those that stood on the stack when the export began."""
    # Both lists have the nearest place first, and a long one is cut at its end.
    begin = next(
        (n for n in range(len(chain)) if tuple(chain[n:]) == tuple(around[: len(chain) - n])),
        len(chain),
    )
    return tuple(chain[:begin])


def _lines_of_exporter(
    factory: object, chains: Mapping[str, Sequence[Place]]
) -> Mapping[str, CallSite]:
    """Return the lines of the exporter's own files that distinguish statements, by their texts.

    A loop over entities is often in the exporter, and the statement in a method of another class
    that the whole project calls. A statement that shares its line with others is left out.
    """
    files = {str(each) for each in map(source_file, _classes_of(factory)) if each is not None}
    own = {
        text: [site for site in map(call_site, chain) if site.path in files]
        for text, chain in chains.items()
    }
    sites = distinct_sites(own)
    shared = Counter((site.path, site.line) for site in sites.values())
    return {text: site for text, site in sites.items() if shared[site.path, site.line] == 1}


def _classes_of(factory: object) -> Sequence[object]:
    return inspect.getmro(factory) if inspect.isclass(factory) else (factory,)


def write_records_with_pause(
    build: Build,
    run_id: str,
    path: Path,
    *,
    sign: bool,
    engine: Any,
    pause: Callable[[], object],
    after: int = 1,
) -> dict[str, Any]:
    """Write the records of an export, and call `pause` when a query has been executed.

    At once, and not before the next query: an exporter may begin its snapshot in between. Before
    the first query no snapshot has begun.

    Args:
        build: Makes the exporter.
        run_id: The run to export.
        path: The file to write.
        sign: Whether to sign.
        engine: The engine of the export.
        pause: Called once, in the thread of the export.
        after: The query, counted from 1. After the first one, the pause comes at the second record
            if that comes earlier.

    Returns:
        `record_count`, `error`, `queries` of the whole export, and `queries_after` the pause.
    """
    queries, before_pause = 0, None

    def take() -> None:
        nonlocal before_pause
        if before_pause is None:
            before_pause = queries
            pause()

    def sent(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal queries
        if kind_of(statement) is StatementKind.QUERY:
            queries += 1
            if queries == after:
                take()

    event.listen(engine, "after_cursor_execute", sent)
    try:
        answer = write_records(
            build,
            run_id,
            path,
            sign=sign,
            max_records=sys.maxsize,
            on_record=lambda count: take() if count == after == 1 else None,
        )
    finally:
        event.remove(engine, "after_cursor_execute", sent)
    remaining = 0 if before_pause is None else queries - before_pause
    return {**answer, "queries": queries, "queries_after": remaining}


def frames_of_error(error: BaseException, factory: object) -> list[CallSite]:
    """Return the exporter's lines that an error passed through, the outermost first."""
    # Its own files only: a library below it raised, but was called from there.
    sources = SourceFolders(factory)
    frames = (
        CallSite(code.co_filename, line, getattr(code, "co_qualname", code.co_name))
        for code, line in ((f.f_code, line) for f, line in walk_tb(error.__traceback__))
    )
    return [each for each in frames if sources.contains(each.path)]


def _package_of(code: object) -> Path | None:
    """Return the folder of the outermost package that holds the code; None for Python's own."""
    module = inspect.getmodule(code)
    if module is None or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return None
    file = inspect.getsourcefile(module)
    if file is None:
        return None
    folder = Path(file).resolve().parent
    if not (folder / "__init__.py").exists():
        # A single module among installed packages: its folder would count all of them.
        return None if folder.name in ("site-packages", "dist-packages") else folder
    while (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder
