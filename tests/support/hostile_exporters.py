"""Exporters that harm the process, the database or the harness, one in a class."""

import locale
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import text

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB, LandscapeExporter


class Hostile(LandscapeExporter):
    """Does harm before its first record, and is correct otherwise."""

    def __init__(self, db: LandscapeDB, signing_key: bytes | None, *, clock: Clock) -> None:
        super().__init__(db, signing_key, clock=clock)
        self.db = db

    def harm(self) -> None:
        """Do the harm."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        self.harm()
        yield from super()._iter_records(run_id)


class RaisesSystemExit(Hostile):
    def harm(self) -> None:
        raise SystemExit(0)


class RaisesKeyboardInterrupt(Hostile):
    def harm(self) -> None:
        raise KeyboardInterrupt


class RaisesBaseException(Hostile):
    def harm(self) -> None:
        raise BaseException("out of bounds\nsecond line")


class RaisesAnErrorThatCannotBeShown(Hostile):
    def harm(self) -> None:
        class UnspeakableError(Exception):
            def __str__(self) -> str:
                raise SystemExit(0)

        raise UnspeakableError


class EndsTheProcess(Hostile):
    def harm(self) -> None:
        os._exit(0)


class EndsTheProcessWhenItIsMade(LandscapeExporter):
    def __init__(self, db: LandscapeDB, signing_key: bytes | None, *, clock: Clock) -> None:
        os._exit(0)


class RaisesWhenItIsMade(LandscapeExporter):
    def __init__(self, db: LandscapeDB, signing_key: bytes | None, *, clock: Clock) -> None:
        raise RuntimeError("no licence")


class IsKilled(Hostile):
    def harm(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Hostile):
    def harm(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(Hostile):
    def harm(self) -> None:
        time.sleep(600)


class HangsAndIgnoresSignals(Hostile):
    def harm(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(600)


class NeverEnds(Hostile):
    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        while True:
            yield {"record_type": "run", "run_id": run_id}


class YieldsNumbers(Hostile):
    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Any]:
        yield from (1, 2, 3)


class ReturnsNone(Hostile):
    def export_run(self, run_id: str, sign: bool = False) -> Any:
        return None


class ClosesAllDescriptors(Hostile):
    def harm(self) -> None:
        os.closerange(0, max(_descriptors()) + 1)


class WritesToAllDescriptors(Hostile):
    def harm(self) -> None:
        _write_to(_descriptors())


class WritesToOpenFiles(Hostile):
    """Writes to the harness's file of records, and not to its pipes."""

    def harm(self) -> None:
        _write_to(each for each in _descriptors() if _leads_to_records(each))


def _descriptors() -> list[int]:
    return sorted(int(each.name) for each in Path("/dev/fd").iterdir())


def _leads_to_records(descriptor: int) -> bool:
    try:
        return Path(f"/dev/fd/{descriptor}").readlink().name == "records"
    except OSError:
        return False


def _write_to(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        if descriptor > 2:
            with suppress(OSError):
                os.write(descriptor, b"nonsense\n")


class LocksTheDatabase(Hostile):
    kept: ClassVar[list[Any]] = []

    def harm(self) -> None:
        if not self.kept:
            import sqlite3

            connection = sqlite3.connect(self.db.engine.url.database or "", isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            self.kept.append(connection)


class LeavesAProcess(Hostile):
    def harm(self) -> None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


class LeavesADaemon(Hostile):
    def harm(self) -> None:
        subprocess.Popen(["sleep", "600"], start_new_session=True)


class LeavesAThread(Hostile):
    def harm(self) -> None:
        threading.Thread(target=time.sleep, args=(600,), name="left over").start()


class ForksAndGoesOn(Hostile):
    def harm(self) -> None:
        os.fork()


class ForksAndGoesOnFirst(Hostile):
    """The forked process has exported before the other one goes on."""

    def harm(self) -> None:
        if pid := os.fork():
            os.waitpid(pid, 0)


class ForksAndGoesOnLast(Hostile):
    """The forked process stands still until the harness ends it."""

    def harm(self) -> None:
        if os.fork() == 0:
            time.sleep(600)


class ClosesTheDatabase(Hostile):
    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        yield from super()._iter_records(run_id)
        self.db.close()


class DisposesTheEngine(Hostile):
    def harm(self) -> None:
        self.db.engine.dispose()


class ChangesTheDirectory(Hostile):
    def harm(self) -> None:
        os.chdir("/")


class ChangesTheEnvironment(Hostile):
    def harm(self) -> None:
        os.environ["HOSTILE"] = "1"


class ChangesTheUmask(Hostile):
    def harm(self) -> None:
        os.umask(0o077)


class ChangesASignalHandler(Hostile):
    def harm(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class ChangesTheLocale(Hostile):
    def harm(self) -> None:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        locale.setlocale(locale.LC_NUMERIC, "C")


class ChangesTheImportPath(Hostile):
    def harm(self) -> None:
        sys.path.insert(0, "/nowhere")


class ChangesEverySetting(Hostile):
    def harm(self) -> None:
        for each in (
            ChangesTheDirectory,
            ChangesTheEnvironment,
            ChangesTheUmask,
            ChangesASignalHandler,
            ChangesTheLocale,
            ChangesTheImportPath,
        ):
            each(self.db, None, clock=self._clock).harm()


class ClosesStandardOutput(Hostile):
    def harm(self) -> None:
        os.close(1)


class DeletesTheDatabase(Hostile):
    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        yield from super()._iter_records(run_id)
        Path(str(self.db.engine.url.database).removeprefix("file:")).unlink(missing_ok=True)


class WritesToTheDatabase(Hostile):
    def harm(self) -> None:
        with self.db.engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS hostile (id INTEGER)"))
