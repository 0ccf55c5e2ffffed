"""A unique signing key, and the search for traces of it in output, files and processes."""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Self

from harness.exporters.probe.key_traces import traces

LANDSCAPE = (sys.executable, "-c", "from elspeth.cli.main import main; main()")
# -P: the folder that a program runs in must not be imported from.
HARNESS = (sys.executable, "-P", "-m", "harness")

# A process of Python that finds this module waits at its start until it has been searched, so that
# none is over too early.
_CHECK_IN = """\
import os
import time

place = os.path.join(os.path.dirname(__file__), str(os.getpid()))
try:
    open(place, "x").close()
except FileNotFoundError:
    pass  # The search is over.
while os.path.exists(place):
    time.sleep(0.005)
"""


def new_canary() -> bytes:
    """Return a key for one test alone. Parallel tests see each other's processes."""
    return f"#{secrets.token_urlsafe(33)}!\"'".encode()


@dataclass
class ProcessWatch:
    """Searches /proc for a key while a block runs, in processes that started since.

    It reads command lines, and environments when `environments` is set. A process of Python that
    has `waiting_room` in its PYTHONPATH is searched for certain: it waits for that. All others are
    searched if they run for long enough.

    Attributes:
        found: What holds the key.
        seen: The ids of the processes that waited and were searched.
    """

    key: bytes
    environments: bool
    found: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    _searched: set[tuple[str, bytes]] = field(default_factory=set)
    _over: Event = field(default_factory=Event)

    def __enter__(self) -> Self:
        self._before = _process_ids()
        self._folder = TemporaryDirectory()
        self.waiting_room = Path(self._folder.name)
        (self.waiting_room / "sitecustomize.py").write_text(_CHECK_IN)
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()

    def look(self) -> None:
        """Search the processes of this moment."""
        for process in _process_ids() - self._before:
            self._search(process)

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            for place in self.waiting_room.iterdir():
                if place.name.isdigit():
                    self.look()
                    self.seen.add(int(place.name))
                    place.unlink()

    def _search(self, process: int) -> None:
        for name in ("cmdline", "environ") if self.environments else ("cmdline",):
            # The process may have ended, or belong to another user.
            with suppress(OSError):
                content = Path(f"/proc/{process}/{name}").read_bytes()
                # A search takes 100 times as long as reading, and most contents stay the same.
                if (name, content) not in self._searched:
                    self._searched.add((name, content))
                    self.found += [f"{name}: {form}" for form in traces(content, self.key)]


def _process_ids() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}


@dataclass(frozen=True)
class Ran:
    """The exit code and output of a program, and the number of its processes of Python."""

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
                env={**os.environ, **self.environ, "PYTHONPATH": str(watch.waiting_room)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
        ):
            out, err = process.communicate(timeout=300)
        assert sorted(set(watch.found)) == [], command
        assert process.pid in watch.seen, "the process was not searched"
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
