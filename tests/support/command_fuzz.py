"""Calls of a command line with any of its options and hostile values, and what each may do."""

import contextlib
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

EXIT_CODES = frozenset({0, 1, 2, 3, 4, 5})
"""Every documented exit code that no signal causes."""

SECRET = "correcthorsebatterystaple"
"""A password and part of the keys that a call is given: no output may hold it."""

# What argv can hold: no NUL, and bytes that are not UTF-8 arrive as surrogates.
_TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "-", "--", ".", "..", "/", "latest", "id:latest", "%20", "%s", "[red]"]
    ),
    st.sampled_from(["\udcff", "a\nb", "\x1b[31m", "nan", "1e999", "0x10", "9" * 5000, "x" * 300]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
)
_NUMBERS = st.sampled_from(
    ["0", "1", "-1", "10", "0.5", "1e9", "1e999", "nan", "inf", "-0", "", "x", "1_0", "9" * 5000]
)


@dataclass(frozen=True)
class Pools:
    """The values that options are given.

    Attributes:
        paths: Files and folders, of every kind that exists.
        outputs: Paths below the one folder that a call may write to.
        by_option: Values of single options, by name; they take the place of the others. Of these,
            paths and outputs the first is usable, and is given in most calls.
        wanted: Options that most calls have.
        without: Options that no call has.
    """

    paths: Sequence[str]
    outputs: Sequence[str]
    by_option: Mapping[str, Sequence[str]]
    wanted: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()


def calls_of(command: Any, pools: Pools) -> st.SearchStrategy[list[str]]:
    """Return a strategy for the arguments of a call of a command or of its subcommands."""
    subcommands = {name: command.get_command(None, name) for name in command.list_commands(None)}
    return st.one_of(
        st.lists(_TEXTS, max_size=3),
        *(_calls_of_one(name, each, pools) for name, each in subcommands.items()),
    )


def _calls_of_one(name: str, command: Any, pools: Pools) -> st.SearchStrategy[list[str]]:
    options = [
        _given(parameter, pools)
        for parameter in command.params
        if not pools.without & set(parameter.opts) and "--help" not in parameter.opts
    ]
    # An option that must be given is left out rarely: the call would end before it is read.
    none = st.just([])
    parts = [
        st.one_of(*[each] * 5, none) if is_wanted else st.one_of(none, none, none, each)
        for is_wanted, each in options
    ]
    return st.tuples(*parts).flatmap(
        lambda chosen: st.permutations(chosen).map(lambda order: [name, *chain(*order)])
    )


def _given(parameter: Any, pools: Pools) -> tuple[bool, st.SearchStrategy[list[str]]]:
    """Return whether a parameter is wanted, and the arguments that give it."""
    option = parameter.opts[-1]
    if getattr(parameter, "is_flag", False):
        return False, st.just([option])
    # Versions of typer differ in where they keep the type.
    kind = str(getattr(parameter, "type", None) or parameter.type_descriptor.annotation).lower()
    if option in pools.by_option:
        values = _mostly_first(pools.by_option[option])
    elif option == "--output":
        values = _mostly_first(pools.outputs)
    elif "path" in kind:
        values = _mostly_first(pools.paths)
    elif "int" in kind or "float" in kind:
        values = _NUMBERS
    else:
        values = _TEXTS
    is_wanted = parameter.required or option in pools.wanted
    if option.startswith("-"):
        return is_wanted, values.map(lambda value: [option, value])
    return is_wanted, values.map(lambda value: [value])


def _mostly_first(values: Sequence[str]) -> st.SearchStrategy[str]:
    first = st.just(values[0])
    return st.one_of(first, first, first, st.sampled_from(list(values)))


@dataclass(frozen=True)
class Called:
    """How a call ended, and what it printed."""

    code: int
    out: str
    err: str


def call(main: Callable[[], object], arguments: Sequence[str]) -> Called:
    """Call a command in this process, with streams like those of a pipe."""
    out, err = io.BytesIO(), io.BytesIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before = sys.argv
    sys.argv = ["command", *arguments]
    try:
        with (
            io.TextIOWrapper(out, encoding="utf-8", write_through=True) as stdout,
            io.TextIOWrapper(
                err, encoding="utf-8", errors="backslashreplace", write_through=True
            ) as stderr,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
            else:
                raise AssertionError("the command did not exit")
            stdout.flush()
            printed = out.getvalue().decode(), err.getvalue().decode()
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
        gc.enable()
    assert isinstance(code, int), code
    return Called(code, *printed)


@contextlib.contextmanager
def nothing_else_changes(folder: Path, *, but: Sequence[Path]) -> Iterator[None]:
    """Assert that a block leaves a folder as it was, but for some folders, and stays where it is.

    Files are compared by content. Those that SQLite puts beside a database are left out.
    """
    before, working_directory = _contents(folder, but), Path.cwd()
    yield
    assert Path.cwd() == working_directory
    assert _contents(folder, but) == before


def _contents(folder: Path, but: Sequence[Path]) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if any(path.is_relative_to(each) for each in but) or path.name.endswith(("-wal", "-shm")):
            continue
        is_file = path.is_file() and not path.is_symlink()
        found[os.fspath(path)] = sha256(path.read_bytes()).hexdigest() if is_file else ""
    return found


def assert_ended_well(called: Called) -> None:
    """Assert a documented exit code, one line for an error, no traceback and no secret."""
    assert called.code in EXIT_CODES, called
    for text in (called.out, called.err):
        assert "Traceback" not in text, called
        assert SECRET not in text, called
        assert re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) is None, called
    errors = [line for line in called.err.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1, called
    # Exit 1 is a result, which is printed; every other failure is explained.
    assert bool(errors) == (called.code > 1), called
