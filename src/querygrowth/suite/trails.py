"""Where a statement was sent: its lines in the application and in the tests, and their loops."""

import dis
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePath
from types import CodeType
from typing import Any

from querygrowth.places.call_sites import CallSite, Place, call_site
from querygrowth.suite.loops import is_comprehension, is_in_loop, is_in_while
from querygrowth.tables.user_tables import every_registry

# A code object is known by its identity, because equal code may stand in several files.
TrailKey = tuple[object, ...]
_TEST_FOLDERS = frozenset({"test", "tests", "testing"})
# The folders and files in which no application stands, and how deep it is looked for.
_APART = frozenset({"build", "dist", "doc", "docs", "examples", "node_modules", "site-packages"})
_NOT_CODE = frozenset({"noxfile.py", "setup.py"})
_DEEPEST = 3
# Fixtures and markers with which one call of a test runs its body many times.
_REPEATING_FIXTURES = frozenset({"benchmark"})


class TestFiles:
    """Tells test files from those of the application.

    Test files are test modules, conftest.py, and what is in a folder named test, tests or testing.
    They may hold an application too: test modules, files with models, and all files of a project
    that has no other code.

    Args:
        root: The root of the project.
        patterns: The names of test modules, as pytest's setting `python_files` has them.
    """

    __test__ = False

    def __init__(self, root: Path, patterns: Sequence[str]) -> None:
        self._root = root
        self._patterns = [pattern for pattern in patterns if "/" not in pattern]
        self._known: dict[str, bool] = {}
        self._beside: dict[str, bool] = {}
        self._collected: set[str] = set()

    def add(self, path: str) -> None:
        """Note a file that a test was collected from, of any name."""
        self._known[path] = True
        self._collected.add(path)

    def contains(self, path: str) -> bool:
        """Whether a file holds tests or what only they use."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._is_test_file(PurePath(path))
        return known

    def is_beside_application(self, path: str) -> bool:
        """Whether a test file has no models, in a project with code outside of its test files."""
        known = self._beside.get(path)
        if known is None:
            known = self._beside[path] = self._has_application and not _defines_models(path)
        return known

    @cached_property
    def _has_application(self) -> bool:
        """Whether the project has code outside of its test files."""
        folders = [self._root]
        for depth in range(_DEEPEST):
            found = [path for folder in folders for path in folder.glob("*.py")]
            if any(path.name not in _NOT_CODE and not self._is_test_file(path) for path in found):
                return True
            if depth == _DEEPEST - 1:
                break
            folders = [each for folder in folders for each in _folders_of_code(folder)]
        return False

    def is_test_module(self, path: PurePath) -> bool:
        """Whether a file is named as one that holds tests, or a test was collected from it."""
        named = any(fnmatch(path.name, each) for each in self._patterns)
        return named or str(path) in self._collected

    def _is_test_file(self, path: PurePath) -> bool:
        if path.name == "conftest.py" or self.is_test_module(path):
            return True
        inside = path.is_relative_to(self._root)
        folders = path.relative_to(self._root).parts[:-1] if inside else ()
        return not _TEST_FOLDERS.isdisjoint(folders)

    def relative(self, path: str) -> str:
        """The path of a file relative to the root or to site-packages, in POSIX form."""
        installed = path.rpartition(f"{os.sep}site-packages{os.sep}")[2]
        pure = PurePath(installed)
        return (
            pure.relative_to(self._root) if pure.is_relative_to(self._root) else pure
        ).as_posix()


class TestBody:
    """The function of a test, as code.

    Args:
        function: The function; None if the test has none.
        fixtures: The names of the fixtures that it uses.
    """

    __test__ = False

    def __init__(self, function: Any, fixtures: Iterable[str] = ()) -> None:
        bare = inspect.unwrap(function) if function is not None else None
        # Hypothesis keeps the function that its user wrote here.
        inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
        codes = [getattr(each, "__code__", None) for each in (function, bare, inner)]
        self._tops = {id(code) for code in codes if code is not None}
        self._codes = {id(code) for top in codes if top is not None for code in _nested(top)}
        self.repeats = inner is not None or not _REPEATING_FIXTURES.isdisjoint(fixtures)

    def contains(self, place: Place) -> bool:
        """Whether a place is in the function or in a function that stands in it."""
        return not isinstance(place, CallSite) and id(place[0]) in self._codes

    def is_code(self, code: CodeType) -> bool:
        """Whether the code is that of the function itself."""
        return id(code) in self._tops

    def is_on(self, chain: Sequence[Place]) -> bool:
        """Whether the function is among callers. It is not on the stack of a thread or a task."""
        # This runs for every statement, and mostly the outermost place is the function.
        tops = self._tops
        for place in reversed(chain):
            if not isinstance(place, CallSite) and id(place[0]) in tops:
                return True
        return False


def _nested(code: CodeType) -> Iterable[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


@dataclass
class Trail:
    """The lines that led to a statement, the nearest first.

    Args:
        chain: The places in the project.
        body: The function of the test.
        files: Tells test files from others.
    """

    chain: tuple[Place, ...]
    body: TestBody
    files: TestFiles

    @cached_property
    def key(self) -> TrailKey:
        """The same for statements of the same lines, at any depth of a recursion."""
        return trail_key(self.chain)

    @cached_property
    def _is_test(self) -> list[bool]:
        """By place, whether it is test code."""
        in_files = [self.files.contains(_path(place)) for place in self.chain]
        if not all(in_files):
            return in_files
        # The application may stand in test files. Then tests are the test, its fixtures, helpers of
        # files other than test modules, what asserts, and what that calls.
        found: list[bool] = []
        asserts = False
        for place in reversed(self.chain):
            path, own = _path(place), self.body.contains(place)
            own = own or PurePath(path).name == "conftest.py"
            beside = not own and self.files.is_beside_application(path)
            asserts = asserts or (beside and _asserts(place))
            helps = beside and not self.files.is_test_module(PurePath(path))
            found.append(own or asserts or helps)
        return found[::-1]

    @cached_property
    def in_test_code(self) -> bool:
        """Whether no line of the application led to the statement."""
        return all(self._is_test)

    @cached_property
    def sent_by_tests(self) -> bool:
        """Whether the nearest line is in a test file. A write there makes rows for a test."""
        return self.files.contains(_path(self.chain[0]))

    @cached_property
    def _counted(self) -> list[Place]:
        """The places whose loops count: those of the application, if any is here."""
        return [
            place
            for place, test in zip(self.chain, self._is_test, strict=True)
            if self.in_test_code or not test
        ]

    @cached_property
    def loop(self) -> Place | None:
        """The outermost place in a loop, in the application if any of its lines is here."""
        # Loops further inside may be about columns, arguments or parts of one item.
        counted = self._counted
        # Behind an async engine, the stack may show one frame twice.
        distinct = dict.fromkeys(map(_key, counted))
        codes = [key[0] for key in distinct if isinstance(key, tuple)]
        for place in reversed(counted):
            if isinstance(place, CallSite):
                continue
            if is_in_loop(*place) or codes.count(id(place[0])) > 1:  # or a recursion
                return place
        return None

    @cached_property
    def only_while(self) -> bool:
        """Whether all loops around the statement that count are `while` loops."""
        places = [place for place in self._counted if not isinstance(place, CallSite)]
        looped = [place for place in places if is_in_loop(*place)]
        return bool(looped) and all(is_in_while(*place) for place in looped)

    @cached_property
    def test_place(self) -> object:
        """The outermost line of the test; None if it is not on the stack, as in another thread."""
        return _key(self.chain[-1]) if self.body.is_on(self.chain) else None

    @cached_property
    def may_be_called_again(self) -> bool:
        """Whether the test may have called the application several times from these lines."""
        if self.body.repeats or self.test_place is None:
            return True
        if self.in_test_code:
            return False
        return any(
            is_in_loop(*place)
            for place, test in zip(self.chain, self._is_test, strict=True)
            if test and not isinstance(place, CallSite)
        )

    def site_of(self, place: Place) -> CallSite:
        """The readable form of a place, with a comprehension as a part of its function."""
        found = call_site(place)
        at = next(number for number, each in enumerate(self.chain) if each is place)
        # Before CPython 3.12 a comprehension has a frame inside of that of its function.
        for outer in self.chain[at + 1 :]:
            if not _is_comprehension_in(place, outer):
                break
            found = CallSite(found.path, found.line, call_site(outer).function)
            place = outer
        return found

    def place_of(self, site: CallSite) -> str:
        """A place without its line, which moves: `path::function`."""
        # CPython 3.10 knows the short name of a function only.
        return f"{self.files.relative(site.path)}::{site.function.rpartition('.')[2]}"


def _folders_of_code(folder: Path) -> Iterator[Path]:
    """The folders in a folder that may hold an application."""
    with suppress(OSError):
        for each in folder.iterdir():
            apart = each.name in _APART or each.name in _TEST_FOLDERS or each.name.startswith(".")
            if each.is_dir() and not apart and not (each / "pyvenv.cfg").exists():
                yield each


def _defines_models(path: str) -> bool:
    """Whether mapped classes stand in a file."""
    modules = {mapper.class_.__module__ for each in every_registry() for mapper in each.mappers}
    return any(getattr(sys.modules.get(name), "__file__", None) == path for name in modules)


def _asserts(place: Place) -> bool:
    """Whether a function asserts, by itself or by methods of unittest."""
    if isinstance(place, CallSite):
        return False
    names = (name.casefold() for name in place[0].co_names)
    # pytest has rewritten the assertions of test modules.
    return any(name.startswith(("assert", "@pytest_ar")) for name in names) or any(
        each.opname == "LOAD_ASSERTION_ERROR" for each in dis.get_instructions(place[0])
    )


def _is_comprehension_in(place: Place, outer: Place) -> bool:
    if isinstance(place, CallSite) or isinstance(outer, CallSite):
        return False
    return is_comprehension(place[0]) and place[0] in outer[0].co_consts


def trail_key(chain: Sequence[Place]) -> TrailKey:
    """The key of a chain of callers; see `Trail.key`."""
    return tuple(dict.fromkeys(map(_key, chain)))


def _key(place: Place) -> object:
    return place if isinstance(place, CallSite) else (id(place[0]), place[1])


def _path(place: Place) -> str:
    return place.path if isinstance(place, CallSite) else place[0].co_filename
