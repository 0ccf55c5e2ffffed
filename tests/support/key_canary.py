"""A unique signing key, and the search for traces of it in output, files and processes."""

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Self

LANDSCAPE = (sys.executable, "-c", "from elspeth.cli.main import main; main()")
# -P: the folder that a program runs in must not be imported from.
HARNESS = (sys.executable, "-P", "-m", "harness")

# A part of a key is a leak too, and twelve bytes do not occur by chance.
_FRAGMENT_BYTES = 12


def new_canary() -> bytes:
    """Return a key for one test alone. Parallel tests see each other's processes."""
    return f"#{secrets.token_urlsafe(33)}!\"'".encode()


def traces(content: bytes, key: bytes) -> list[str]:
    """Return the forms in which some bytes hold twelve bytes of the key or more."""
    folded = content.lower()
    found = []
    for form, parts in _forms(key).items():
        is_hex = form == "hexadecimal"
        if any(part in (folded if is_hex else content) for part in parts):
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


@dataclass
class ProcessWatch:
    """Searches /proc for a key all the time while a block runs, in processes that started since.

    It reads command lines, and environments when `environments` is set. `seen` has the ids of the
    processes that could be read.
    """

    key: bytes
    environments: bool
    found: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    _searched: set[tuple[str, bytes]] = field(default_factory=set)
    _over: Event = field(default_factory=Event)

    def __enter__(self) -> Self:
        self._before = _process_ids()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Search the processes of this moment."""
        names = ("cmdline", "environ") if self.environments else ("cmdline",)
        for process in _process_ids() - self._before:
            for name in names:
                self._read(process, name)

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.look()

    def _read(self, process: int, name: str) -> None:
        # The process may have ended, or belong to another user.
        with suppress(OSError):
            content = Path(f"/proc/{process}/{name}").read_bytes()
            self.seen.add(process)
            # A search takes 100 times as long as reading, and most contents stay the same.
            if (name, content) not in self._searched:
                self._searched.add((name, content))
                self.found += [f"{name}: {form}" for form in traces(content, self.key)]


def _process_ids() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}


@dataclass(frozen=True)
class Ran:
    """The exit code and output of a program, and the number of new processes while it ran."""

    code: int
    out: bytes
    err: bytes
    processes: int


@dataclass(frozen=True)
class GuardedRunner:
    """Runs programs that know the key, and fails when a trace of it is visible.

    Attributes:
        key: The key.
        folder: The working directory of the programs.
        environ: Variables to add to the environment.
        environments: Whether environments of processes are searched as well as command lines.
    """

    key: bytes
    folder: Path
    environ: Mapping[str, str]
    environments: bool

    def run(self, *command: object) -> Ran:
        """Run a program in the folder. Raises AssertionError when a part of the key is visible."""
        with (
            ProcessWatch(self.key, self.environments) as watch,
            subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env={**os.environ, **self.environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
        ):
            # At once, before it can end: the thread may have to wait for a core.
            watch.look()
            out, err = process.communicate(timeout=300)
        assert sorted(set(watch.found)) == [], command
        assert process.pid in watch.seen, "the process ended before it could be read"
        for printed in (out, err):
            assert traces(printed, self.key) == [], command
        assert b"Traceback" not in err, err.decode()
        return Ran(process.returncode, out, err, len(watch.seen))

    def traces_in_files(self, *, but: Sequence[Path] = ()) -> list[str]:
        """Search the files of the folder and their names, and return the places of the key."""
        found = []
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in but:
                found += [f"{path.name}: {form}" for form in traces(path.read_bytes(), self.key)]
            found += [
                f"the name {path.name}: {form}" for form in traces(os.fsencode(path.name), self.key)
            ]
        return found
