"""Search for a signing key in what an exporter logs, prints, raises, passes on and leaves in files.

`overheard` collects all that while a block runs. It runs in the exporter's process.
"""

from __future__ import annotations

import base64
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

# A part of a key is a leak too, and twelve bytes do not occur by chance.
_FRAGMENT_BYTES = 12
_LARGEST_FILE = 2**24
_STARTED = frozenset(("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"))
_WRITING = os.O_WRONLY | os.O_RDWR

# An audit hook cannot be removed. There is one for the process, and it calls this while it is set.
_listener: Callable[[str, tuple[Any, ...]], None] | None = None
_is_installed = False


def traces(content: bytes, key: bytes) -> list[str]:
    """Return the forms in which some bytes hold twelve bytes of a key or more."""
    folded = content.lower()
    found = []
    for form, parts in _forms(key).items():
        searched = folded if form == "hexadecimal" else content
        if any(part in searched for part in parts):
            found.append(form)
    return found


def _forms(key: bytes) -> Mapping[str, Sequence[bytes]]:
    starts = range(0, len(key) - _FRAGMENT_BYTES + 1, 4)
    fragments = [key[at : at + _FRAGMENT_BYTES] for at in starts]
    return {
        "raw": fragments,
        "hexadecimal": [fragment.hex().encode() for fragment in fragments],
        "Base64": [part for fragment in fragments for part in _in_base64(fragment)],
        "JSON of bytes": [str(list(fragment))[1:-1].encode() for fragment in fragments],
        "escaped": [repr(fragment)[2:-1].encode() for fragment in fragments],
    }


def _in_base64(fragment: bytes) -> Iterator[bytes]:
    """Yield the Base64 digits that do not depend on neighbouring bytes, for three alignments."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + fragment)
        first = -(-before * 4 // 3)
        last = (before + len(fragment)) * 8 // 6
        digits = whole[first:last]
        yield from {digits, digits.replace(b"+", b"-").replace(b"/", b"_")}


class Overheard:
    """What an exporter said, by the place where it stands."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}
        self._written: dict[Path, None] = {}

    def add(self, place: str, text: str) -> None:
        """Add a text to what was said at a place."""
        self._said.setdefault(place, []).append(text)

    def add_error(self, error: BaseException) -> None:
        """Add an error with its causes and notes."""
        # The lines of source in a traceback are those of the exporter, and hold no value.
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self.add("an error", "".join(lines) + _text_of(error))

    def observe(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event: a program that is started, or a file that is opened to write."""
        if event in _STARTED:
            self.add("a program that it started", _text_of(arguments))
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode, flags = arguments
            is_written = set(mode or "") & set("wax+") or (flags or 0) & _WRITING
            if is_written:
                self._written[Path(os.fsdecode(path)).absolute()] = None

    def traces(self, key: bytes, folder: Path) -> list[str]:
        """Return the places where a key stands, each with the form of it.

        Args:
            key: The key.
            folder: A folder whose files are searched, beside the files that were opened to write.
        """
        self.add("an environment variable", "\n".join(os.environ.values()))
        files = dict.fromkeys(each.absolute() for each in folder.rglob("*")) | self._written
        contents = [
            (place, text.encode(errors="surrogateescape"))
            for place, texts in self._said.items()
            for text in ["\n".join(texts)]
        ]
        for path in files:
            # A file may have been removed, or belong to another user.
            with suppress(OSError):
                if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
                    contents.append((f"the file {path.name}", path.read_bytes()))
        return [
            f"{place} ({form})" for place, content in contents for form in traces(content, key)[:1]
        ]


def _text_of(value: object) -> str:
    # A hostile object may raise from __repr__.
    try:
        return repr(value)
    except Exception:
        return ""


@contextmanager
def overheard() -> Iterator[Overheard]:
    """Collect what is logged at any level, printed, warned of, started and written in a block.

    Nothing of it reaches the usual places.
    """
    found = Overheard()
    with ExitStack() as stack:
        printed = stack.enter_context(tempfile.TemporaryFile())
        stack.enter_context(_descriptors_to(printed.fileno()))
        text = stack.enter_context(
            os.fdopen(os.dup(printed.fileno()), "w", encoding="utf-8", errors="surrogateescape")
        )
        stack.enter_context(redirect_stdout(text))
        stack.enter_context(redirect_stderr(text))
        stack.enter_context(_logs_to(found))
        warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.enter_context(_audited(found.observe))
        yield found
        text.flush()
        printed.seek(0)
        found.add("what it printed", printed.read().decode(errors="surrogateescape"))
        for each in warned:
            found.add("a warning", str(each.message))


@contextmanager
def _descriptors_to(descriptor: int) -> Iterator[None]:
    """Have standard output and error write to another descriptor."""
    # The stream objects may be kept by handlers that the exporter made when it was imported.
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    kept = []
    for number in (1, 2):
        with suppress(OSError):
            kept.append((number, os.dup(number)))
            os.dup2(descriptor, number)
    try:
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def _logs_to(found: Overheard) -> Iterator[None]:
    """Add every log record, of all levels that no logger sets for itself."""
    # By the factory of records and no handler: a logger may not propagate, and an exporter that
    # sets up logging does so only where there is no handler yet.
    make, level = logging.getLogRecordFactory(), logging.root.level

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            text = record.getMessage()
        except Exception:
            text = ""  # Arguments that do not fit: logging reports that where it prints.
        error = record.exc_info and record.exc_info[1]
        if error:
            found.add_error(error)
        found.add("a log record", f"{text}\n{_text_of(record.args)}")
        return record

    logging.setLogRecordFactory(made)
    logging.root.setLevel(1)
    try:
        yield
    finally:
        logging.root.setLevel(level)
        logging.setLogRecordFactory(make)


@contextmanager
def _audited(observe: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    global _listener, _is_installed
    if not _is_installed:
        sys.addaudithook(_audit)
        _is_installed = True
    _listener = observe
    try:
        yield
    finally:
        _listener = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Hot path: this runs for every audit event of the process, such as every import.
    if _listener is not None:
        # An error in an audit hook would abort what the program was about to do.
        with suppress(Exception):
            _listener(event, arguments)
