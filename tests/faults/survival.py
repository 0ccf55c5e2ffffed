"""A run to export in processes of their own, and what has to hold whatever happens to them.

An export survives a fault when (a) its target is absent, or holds what it held before, or is
complete and verifies; (b) export_status is never `completed` beside a target that does not verify;
(c) the evidence, all columns of all tables but what tells of the export, is unchanged; (d) another
export without the fault gives the bytes of an undisturbed one; (e) neither a key nor a traceback is
printed.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from fault_table import LostError, Tally
from sample_run import fixed_clock
from sqlalchemy import Table, create_engine, make_url

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.schema import metadata
from elspeth.core.landscape.verification.verify import verify

KEY = "this is the key, and nobody may ever see it printed"
MAIN = "from elspeth.cli.main import main; main()"
OLD = b"what an earlier export left, and does not verify\r\n"
UNFINISHED = ".export-"
"""How the name of everything begins that an export puts beside its target."""

Content: TypeAlias = Mapping[str, bytes]
"""The bytes of a target: of a file under the name "", of a directory's files under their names."""

ANY = "any"
PREVIOUS = "previous"
COMPLETE = "complete"


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Outcome:
    """What a fault has to end in; `ANY` where that depends on the moment it strikes at."""

    code: int | str
    target: str
    """PREVIOUS, absent if there was none, or COMPLETE."""
    status: str | None
    """The run's export_status."""
    says: str = ""
    """What the error has to tell, on stderr and in export_error."""
    may_leave: bool = False
    """Whether unfinished files may remain: only what is killed has no time to remove them."""


F3 = Outcome(3, PREVIOUS, "failed")
"""Input, output or database: nothing was published, and the status tells."""
F4 = Outcome(4, PREVIOUS, "failed", "Audit integrity violation")
"""Corrupt audit data: the same, naming the place."""
REFUSED = Outcome(2, PREVIOUS, None)
"""Wrong usage, found before anything was recorded."""
UNCONFIRMED = Outcome(5, COMPLETE, "pending")
"""Published, but not known to be recorded or durable."""
KILLED = Outcome(-9, ANY, ANY, may_leave=True)
"""Ended by SIGKILL, at whatever moment."""
FINE = Outcome(0, COMPLETE, "completed")
"""The fault was no hindrance."""


@dataclass(frozen=True)
class Recorded:
    """What the database says of an export."""

    status: str | None
    error: str | None


@dataclass(frozen=True)
class Trail:
    """An audit trail with a finished run, the settings that say how to export it, and a target.

    `folder` holds `settings.yaml` and, in `exports`, nothing but the target. Processes run in it.
    """

    folder: Path
    url: str
    export_format: str
    tally: Tally
    run_id: str = "run-1"
    sink: str = "audit"
    secrets: tuple[str, ...] = ()
    """What beside the key may not be printed."""
    undisturbed: Content = field(default_factory=dict)
    """An undisturbed export, made at the fixed clock's moment."""

    @classmethod
    def laid(cls, folder: Path, url: str, export_format: str, tally: Tally, **more: Any) -> "Trail":
        """Write the settings, and make an undisturbed export to compare with."""
        (folder / "exports").mkdir(parents=True)
        trail = cls(folder, url, export_format, tally, **more)
        # JSON is YAML too.
        trail.settings_file.write_text(json.dumps(trail._settings()))
        return cls(
            folder, url, export_format, tally, undisturbed=trail._export_undisturbed(), **more
        )

    @property
    def target(self) -> Path:
        name = "audit.jsonl" if self.export_format == "json" else "audit"
        return self.folder / "exports" / name

    @property
    def database(self) -> Path:
        """The file of an SQLite database."""
        return Path(make_url(self.url).database or "")

    @property
    def by_settings(self) -> tuple[str, ...]:
        """The command that exports as a pipeline does, and records the status."""
        settings = str(self.settings_file)
        return ("export", "--settings", settings, "--run", self.run_id, "--quiet")

    def by_settings_at(self, url: str) -> tuple[str, ...]:
        """The command that does, but reaches the database in another way."""
        path = self.folder / "elsewhere.yaml"
        settings = json.loads((self.folder / "settings.yaml").read_text())
        settings["landscape"]["url"] = url
        path.write_text(json.dumps(settings))
        return ("export", "--settings", str(path), "--run", self.run_id, "--quiet")

    @property
    def to_path(self) -> tuple[str, ...]:
        """The command that exports to a path that it names, and records nothing."""
        form = "jsonl" if self.export_format == "json" else "csv"
        return (
            *("export", "--db", self.url, "--run", self.run_id, "--output", str(self.target)),
            *("--format", form, "--sign", "--quiet"),
        )

    def landscape(
        self,
        *arguments: str,
        prelude: str = "",
        under: Sequence[str] = (),
        before: Callable[[], None] | None = None,
        environ: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> Ended:
        """Run the `landscape` command to its end.

        `prelude` is Python that its process runs first; `under` is a command that runs it, such as
        strace; `before` is called between fork and exec; `environ` is put on top of its
        environment.
        """
        with self.started(
            *arguments, prelude=prelude, under=under, before=before, environ=environ, **popen
        ) as process:
            return ended(process)

    def started(
        self,
        *arguments: str,
        prelude: str = "",
        under: Sequence[str] = (),
        before: Callable[[], None] | None = None,
        environ: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> "subprocess.Popen[str]":
        """Start the `landscape` command, for a test that does something while it runs."""
        return subprocess.Popen(
            [*under, sys.executable, "-c", f"{prelude}\n{MAIN}", *arguments],
            env=environment() | dict(environ or {}),
            preexec_fn=before,
            **{
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "errors": "backslashreplace",
                **popen,
            },
        )

    def export(self, *more: str, **how: Any) -> Ended:
        """Export as the settings say, in a process of its own."""
        return self.landscape(*self.by_settings, *more, **how)

    def reconcile(self, **how: Any) -> Ended:
        """Settle what was left pending, in a process of its own."""
        return self.landscape("reconcile", "--settings", str(self.settings_file), **how)

    @property
    def settings_file(self) -> Path:
        return self.folder / "settings.yaml"

    def aimed_at(self, path: str) -> None:
        """Have the settings name another place to export to."""
        settings = json.loads(self.settings_file.read_text())
        settings["sinks"]["audit"]["options"]["path"] = path
        self.settings_file.write_text(json.dumps(settings))

    def reset(self) -> None:
        """Go back to the beginning: no export was ever recorded, and an old one is in place."""
        self.execute(
            "UPDATE runs SET export_status = NULL, export_error = NULL, exported_at = NULL, "
            "export_format = NULL, export_sink = NULL"
        )
        self.put_old_export()

    def execute(self, *statements: str) -> None:
        """Change the database from this process; on SQLite foreign keys are not checked."""
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def saved(self) -> Path:
        """Copy an SQLite database that nobody is writing to, to be put back."""
        return Path(shutil.copy(self.database, self.folder / "saved.db"))

    def put_back(self, whole: Path) -> None:
        """Put a copy in the place of the SQLite database."""
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copy(whole, self.database)

    def wait_until_published(self) -> None:
        """Wait until an export, that is writing, has put what it wrote in place."""
        while self.unfinished():
            time.sleep(0.01)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the one write lock of an SQLite database."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def put_old_export(self) -> None:
        """Put something at the target that a new export replaces, and that does not verify."""
        self.remove_target()
        if self.export_format == "json":
            self.target.write_bytes(OLD)
        else:
            self.target.mkdir()
            (self.target / "run.csv").write_bytes(OLD)

    def remove_target(self) -> None:
        """Have nothing at the target."""
        if self.target.is_dir() and not self.target.is_symlink():
            shutil.rmtree(self.target)
        else:
            self.target.unlink(missing_ok=True)

    def content(self) -> Content | None:
        """What is at the target now."""
        return content_of(self.target)

    def recorded(self) -> Recorded:
        """What the database says of the run's export; nothing if it cannot be read."""
        quoted = self.run_id.replace("'", "''")
        statement = f"SELECT export_status, export_error FROM runs WHERE run_id = '{quoted}'"
        try:
            ((status, error),) = self._read(statement)
        except sqlite3.DatabaseError:
            return Recorded(None, None)
        return Recorded(_text(status), _text(error))

    def evidence(self) -> str:
        """A digest of all columns of all tables, but of those that tell of an export."""
        digest = hashlib.sha256()
        for table in metadata.sorted_tables:
            for row in self._read_evidence(table):
                digest.update(row.encode() + b"\n")
        return digest.hexdigest()

    def unfinished(self) -> list[str]:
        """The names beside the target that an export has not removed."""
        return [
            path.name for path in self.target.parent.iterdir() if path.name.startswith(UNFINISHED)
        ]

    def is_complete(self) -> bool:
        """Whether the target holds what an undisturbed export made at its time would hold.

        All bytes are compared but those of the manifest, which tells when it was made; of that
        every field but this moment and the signature is compared, and `verify` holds it to its
        canonical form and its signature. So given the moment, every byte is determined.
        """
        content = self.content()
        if content is None or not verify(self.target, KEY.encode(), run_id=self.run_id).ok:
            return False
        return _without_moment(content) == _without_moment(self.undisturbed)

    @contextmanager
    def injection(self) -> Iterator["Injection"]:
        """Count one fault, and remember how things were before it.

        The block has to call `survived` or `endured` of what it gets.
        """
        with self.tally.injection():
            injection = Injection(self, self.evidence(), self.content())
            yield injection
            assert injection.judged, "nothing was asserted of what became of it"

    def _settings(self) -> Mapping[str, Any]:
        suffix = ".csv" if self.export_format == "csv" else ""
        return {
            "landscape": {
                "url": self.url,
                "export": {
                    "enabled": True,
                    "sink": self.sink,
                    "format": self.export_format,
                    "sign": True,
                },
            },
            "sinks": {self.sink: {"plugin": "x", "options": {"path": f"{self.target}{suffix}"}}},
        }

    def _export_undisturbed(self) -> Content:
        path = self.folder / "undisturbed"
        with LandscapeDB(self.url, create_tables=False, read_only=True) as db:
            exporter = LandscapeExporter(db, KEY.encode(), clock=fixed_clock)
            write = exporter.write_jsonl if self.export_format == "json" else exporter.write_csv
            write(self.run_id, path, sign=True)
        content = content_of(path)
        assert content is not None
        return content

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        """Read from the database without changing any of its files, text as bytes on SQLite."""
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite":
            # A connection that may write would recover what a killed process left.
            with closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as connection:
                connection.text_factory = bytes
                return connection.execute(statement).fetchall()
        engine = create_engine(url)
        try:
            with engine.connect() as session:
                session.exec_driver_sql("SET TIME ZONE 'UTC'")
                return [tuple(row) for row in session.exec_driver_sql(statement)]
        finally:
            engine.dispose()

    def _read_evidence(self, table: Table) -> list[str]:
        columns = [column.name for column in table.columns if not _tells_of_export(column.name)]
        if make_url(self.url).get_backend_name() == "postgresql":
            # As the server shows it: a driver cannot read whatever can be stored.
            columns = [f"{name}::text" for name in columns]
        try:
            return sorted(map(repr, self._read(f"SELECT {', '.join(columns)} FROM {table.name}")))
        except sqlite3.DatabaseError as error:
            # Of what was damaged on purpose only the readable part can be compared.
            return [str(error)]


@dataclass
class Injection:
    """One fault, and how things were before it."""

    trail: Trail
    evidence: str
    content: Content | None
    judged: bool = False

    def changed_on_purpose(self) -> None:
        """Take the evidence as it is now for what must not change: the test corrupted it."""
        self.evidence = self.trail.evidence()

    def repaired(self, put_back: Callable[[], None]) -> None:
        """Undo what corrupted the database, and take the evidence as it then is."""
        put_back()
        self.changed_on_purpose()

    def survived(
        self, ended: Ended, outcome: Outcome, *, repair: Callable[[], None] | None = None
    ) -> None:
        """Assert (a) to (e), and the outcome. `repair` makes an export possible again for (d)."""
        self.endured(ended, outcome)
        if repair is not None:
            repair()
        self.assert_exportable_again()

    def endured(self, ended: Ended, outcome: Outcome) -> None:
        """Assert all but (d): for a test that goes on in another way before it exports again."""
        self.judged = True
        trail = self.trail
        complete = trail.is_complete()
        self._assert_nothing_lost(complete)
        recorded = trail.recorded()
        assert recorded.status != "completed" or complete, recorded
        assert_discreet(ended, *trail.secrets)
        if outcome.code != ANY:
            assert ended.code == outcome.code, ended
        if outcome.target == PREVIOUS:
            assert trail.content() == self.content
        elif outcome.target == COMPLETE:
            assert complete, trail.content()
        if outcome.status != ANY:
            assert recorded.status == outcome.status, (recorded, ended)
        if recorded.status == "failed":
            assert recorded.error
            assert outcome.says in recorded.error
        assert outcome.says in ended.err
        if not outcome.may_leave:
            assert trail.unfinished() == []

    def assert_exportable_again(self) -> None:
        """Assert (d): an export without the fault is complete, and leaves nothing beside it."""
        ended = self.trail.export()
        assert (ended.code, ended.err) == (0, "")
        assert self.trail.is_complete(), self.trail.content()
        assert self.trail.recorded() == Recorded("completed", None)
        assert self.trail.unfinished() == []
        assert self.trail.evidence() == self.evidence

    def _assert_nothing_lost(self, complete: bool) -> None:
        content = self.trail.content()
        if content is not None and content != self.content and not complete:
            raise LostError(f"(a) {self.trail.target} is torn: {content}")
        if self.content is not None and content is None and not self.trail.unfinished():
            raise LostError(f"(a) {self.trail.target} is gone")
        if self.trail.evidence() != self.evidence:
            raise LostError("(c) the evidence has changed")


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait for a process, and say how it ended."""
    out, err = process.communicate()
    return Ended(process.returncode, out or "", err or "")


def assert_discreet(ended: Ended, *secrets: str) -> None:
    """Assert (e): one line of error at most, no key, no traceback."""
    printed = ended.out + ended.err
    assert "Traceback" not in printed, printed
    for secret in (KEY, *secrets):
        assert secret not in printed
    assert ended.err == "" or ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") <= 1, ended.err


def content_of(path: Path) -> Content | None:
    """The bytes at a path, of a file or of a directory's files."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.iterdir())}
    # A pipe would be waited for, a device might never end.
    return {"": path.read_bytes()} if path.is_file() else None


def _tells_of_export(column: str) -> bool:
    return column.startswith("export")


def _without_moment(content: Content) -> object:
    """What an export holds, without the moment it was made at and the signature over that."""
    if "" in content:
        *lines, last = content[""].splitlines(keepends=True)
        return lines, _lasting(json.loads(last))
    tables = dict(content)
    (manifest,) = csv.DictReader(io.StringIO(tables.pop("manifest.csv").decode()))
    return tables, _lasting(manifest)


def _lasting(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return {k: v for k, v in manifest.items() if k not in ("exported_at", "signature")}


def environment() -> dict[str, str]:
    """This process's environment, with a key and without settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ELSPETH_")}
    # So that a process makes the same system calls every time.
    return inherited | {KEY_VARIABLE: KEY, "PYTHONDONTWRITEBYTECODE": "1"}


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
