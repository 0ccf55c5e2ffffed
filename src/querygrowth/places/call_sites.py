"""The user's code (`Project`), and places in it (`CallSite`, `Callers`).

`querygrowth.places.stack` finds the callers of a statement. `distinct_sites` finds different lines
for statements that were all sent through one function. `callers_line` shows a chain of callers.
"""

# SQLAlchemy is not imported here, because verdicts need `CallSite` and must stay cheap to import.

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple, TypeAlias, TypeVar

Key = TypeVar("Key")

_COMPREHENSION = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
_SHOWN_CALLERS = 3
_SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"


def _package_folder(name: str) -> str:
    spec = find_spec(name)
    folders = spec.submodule_search_locations if spec else None
    return f"{folders[0] if folders else name}{os.sep}"


# "<frozen" begins the names of modules inside the interpreter, such as importlib's, and
# "<sqlalchemy" those of functions that SQLAlchemy generates.
_NEVER_CALL_SITES = (
    _package_folder("sqlalchemy"),
    f"{Path(__file__).parents[1]}{os.sep}",
    "<frozen",
    "<sqlalchemy",
)


class Project:
    """The files that are the user's own code.

    They are the files below `root` that are not installed, and the installed copies of packages
    that `root` holds in source (at its top or in `src/`), or that `packages` names.

    Args:
        root: The directory that holds the project. Default: the working directory.
        passed_over: Further files and directories whose frames are never call sites, such as those
            of a tool that calls the measured code.
        packages: What else is the user's code: the import names of installed packages and modules,
            and the paths of folders and files outside of `root`.

    Raises:
        ValueError: There is no package, module, folder or file of a given name.
    """

    def __init__(
        self,
        root: Path | None = None,
        passed_over: Sequence[Path] = (),
        packages: Sequence[str | Path] = (),
    ) -> None:
        self._root = f"{(root or Path.cwd()).resolve()}{os.sep}"
        self._passed_over = (
            *_NEVER_CALL_SITES,
            # The separator keeps "tool" from covering "tool_tests" too.
            *(str(path) if path.is_file() else f"{path}{os.sep}" for path in passed_over),
        )
        # The root may hold a virtual environment, or be a folder above the interpreter's own.
        environments = (f"{prefix}{os.sep}" for prefix in (sys.prefix, sys.base_prefix))
        self._not_the_users = tuple(
            folder for folder in environments if folder.startswith(self._root)
        )
        self._named = tuple(place for name in packages for place in _places_of(name))

    def contains(self, filename: str) -> bool:
        """Whether a file belongs to the project. `filename` is a code object's `co_filename`."""
        if filename.startswith(self._passed_over):
            return False
        if filename.startswith(self._named):
            return True
        # Only below the root, because the root itself may be in site-packages.
        inside = filename.startswith(self._root)
        below = filename[len(self._root) - 1 :] if inside else filename
        if _SITE_PACKAGES in below:
            # A suite that runs against the installed package (tox, `pip install .`) has its source
            # below the root too.
            installed = below.rpartition(_SITE_PACKAGES)[2].partition(os.sep)[0]
            return installed.removesuffix(".py") in self._packages_in_source
        if not inside or filename.startswith(self._not_the_users):
            return False
        return not self._is_vendored(Path(filename).parent)

    def _is_vendored(self, folder: Path) -> bool:
        """Whether a folder below the root belongs to packages that pip has installed there."""
        # `pip install --target` leaves the metadata of the packages beside them.
        root = Path(self._root)
        below = (each for each in (folder, *folder.parents) if root in each.parents)
        return any(next(each.glob("*.dist-info"), None) is not None for each in below)

    def passes_over(self, filename: str) -> bool:
        """Whether frames of this file are never call sites."""
        return filename.startswith(self._passed_over)

    @cached_property
    def _packages_in_source(self) -> frozenset[str]:
        """The names of the packages and modules at the top of the root and in its `src/`."""
        found: set[str] = set()
        for folder in (Path(self._root), Path(self._root, "src")):
            found.update(init.parent.name for init in folder.glob("*/__init__.py"))
            found.update(module.stem for module in folder.glob("*.py"))
        return frozenset(found)


def default_project() -> Project:
    """The project below the working directory, which is the same object for every call there."""
    # What is known of its files is kept with it: to classify them takes longer than many queries.
    return _project_at(Path.cwd())


@cache
def _project_at(root: Path) -> Project:
    return Project(root)


def _places_of(name: str | Path) -> Sequence[str]:
    """The folders of a package, or the file of a module, by its import name or its path."""
    if isinstance(name, Path):
        path = name.resolve()
        if not path.exists():
            raise ValueError(f"there is no {path}, which is to count as the user's code")
        return (f"{path}{os.sep}" if path.is_dir() else str(path),)
    top, *below = name.split(".")
    try:
        # Only the top is looked up: looking up what is below it would import the package.
        spec = find_spec(top)
    except ValueError:  # a name that is empty or relative, or a module without a spec
        spec = None
    if spec is None:
        raise ValueError(
            f"no package or module {name!r} is installed, which is to count as the user's code"
        )
    if not spec.submodule_search_locations:
        return (str(spec.origin),)
    folders = [Path(folder, *below) for folder in spec.submodule_search_locations]
    places = [
        *(f"{folder}{os.sep}" for folder in folders if folder.is_dir()),
        *(f"{folder}.py" for folder in folders if folder.with_name(f"{folder.name}.py").is_file()),
    ]
    if not places:
        raise ValueError(
            f"the package {top!r} holds no {name!r}, which is to count as the user's code"
        )
    return places


@dataclass(frozen=True)
class CallSite:
    """A place in source code: absolute path, line from 1, and the function's qualified name.

    CPython 3.10 keeps only the short name of a function. A template that was not loaded from a file
    has its name for a path.
    """

    path: str
    line: int
    function: str

    def __str__(self) -> str:
        path, folder = Path(self.path), Path.cwd()
        shown = path.relative_to(folder) if path.is_relative_to(folder) else path
        function = self.function
        # Since CPython 3.12 a comprehension is a part of its function, and has no name.
        while function.endswith(_COMPREHENSION) and ".<locals>." in function:
            function = function.rpartition(".<locals>.")[0]
        return f"{shown}:{self.line} in {function}"


# A place as the interpreter holds it: the code of a frame, and the offset of its last instruction.
# Two references are cheap to record inside a statement. Names, paths and lines are read later, and
# only for statements that are shown.
RawSite: TypeAlias = tuple[CodeType, int]
Place: TypeAlias = RawSite | CallSite
# A flat list, because it is made inside every statement, and a pair for each frame takes longer.
Steps: TypeAlias = list[CodeType | CallSite | int]


class Callers(NamedTuple):
    """Who caused a statement.

    Attributes:
        outside: The nearest caller, if it is neither in the user's project nor in SQLAlchemy or
            this package.
        steps: The callers in the user's project, the nearest first: a code object and the offset of
            its last instruction, or a `CallSite` and 0.
        entry: The function of SQLAlchemy that the nearest caller called, such as `Session.commit`.
    """

    outside: Place | None
    steps: Steps
    entry: CodeType | str | None = None

    @property
    def chain(self) -> tuple[Place, ...]:
        """The callers in the user's project, the nearest first."""
        codes, offsets = self.steps[::2], self.steps[1::2]
        pairs: Any = zip(codes, offsets, strict=True)
        return tuple(code if isinstance(code, CallSite) else (code, at) for code, at in pairs)

    def with_chain(self, chain: Iterable[Place]) -> "Callers":
        """The same nearest caller and entry, with other callers in the project."""
        return Callers(self.nearest, steps_of(chain), self.entry)

    @property
    def nearest(self) -> Place | None:
        """The nearest caller outside SQLAlchemy and this package."""
        return self.outside or self.project

    @property
    def project(self) -> Place | None:
        """The nearest caller in the user's project."""
        return next(iter(self.chain), None)

    @property
    def site(self) -> CallSite | None:
        """The nearest caller in the project, or else the nearest of all."""
        place = self.project or self.nearest
        return place and call_site(place)

    @property
    def entry_name(self) -> str:
        """The name of the function that the nearest caller called; empty if it is unknown."""
        entry = self.entry
        return (entry if isinstance(entry, str) else entry.co_name) if entry else ""


def steps_of(places: Iterable[Place]) -> Steps:
    """The steps of `Callers` that are these places."""
    pairs = ((each, 0) if isinstance(each, CallSite) else each for each in places)
    return [step for pair in pairs for step in pair]


def call_site(place: Place) -> CallSite:
    """The readable form of a recorded place. A place of another process is readable already."""
    if isinstance(place, CallSite):
        return place
    code, offset = place
    line = next(
        (line for start, end, line in code.co_lines() if start <= offset < end and line), None
    )
    return CallSite(code.co_filename, line or code.co_firstlineno, function_name(code))


def function_name(code: CodeType) -> str:
    """The qualified name of a function, or its short name before CPython 3.11."""
    return getattr(code, "co_qualname", code.co_name)


def distinct_sites(chains: Mapping[Key, Sequence[CallSite]]) -> Mapping[Key, CallSite]:
    """The nearest line of a statement's callers that no other statement went through.

    Args:
        chains: The project's lines that led to a statement, the nearest first, by statement.

    Returns:
        A line by statement. A statement that shares all its lines with others has its nearest line.
        A statement without callers is left out.
    """
    # Code that sends everything through one function has a single call site for all its queries.
    # The line that distinguishes them is further out.
    # Before CPython 3.12 a comprehension and its function are two callers at one line.
    lines = ({(site.path, site.line) for site in chain} for chain in chains.values())
    shared = Counter(line for each in lines for line in each)
    return {
        statement: next((site for site in chain if shared[site.path, site.line] == 1), chain[0])
        for statement, chain in chains.items()
        if chain
    }


def callers_line(chain: Sequence[CallSite]) -> str:
    """The user's code from the test inwards: the outermost line and the innermost ones."""
    inwards = [*_without_comprehensions(chain)][::-1]
    if len(inwards) > _SHOWN_CALLERS + 1:
        return f"called by: {inwards[0]} > ... > {_joined(inwards[-_SHOWN_CALLERS:])}"
    return f"called by: {_joined(inwards)}"


def _without_comprehensions(chain: Sequence[CallSite]) -> Iterator[CallSite]:
    """Yield the callers, and one for a comprehension and the function that it stands in."""
    # Before CPython 3.12 a comprehension has a frame inside of that of its function.
    inner: CallSite | None = None
    for site in chain:
        if (
            inner is not None
            and inner.path == site.path
            and inner.function.endswith(_COMPREHENSION)
        ):
            yield CallSite(site.path, inner.line, site.function)
            inner = None
            continue
        if inner is not None:
            yield inner
        inner = site
    if inner is not None:
        yield inner


def _joined(chain: Sequence[CallSite]) -> str:
    return " > ".join(map(str, chain))
