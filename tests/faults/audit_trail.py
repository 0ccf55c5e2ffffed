"""An audit trail for fault tests: exports, reads of database and target."""

import csv
import hashlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from fault_table import Tally
from landscape_command import KEY, MAIN, Ended, ended, environment, run_here
from postgres_server import execute, url_text
from sample_run import fixed_clock, record_sample_run
from shared_recordings import put_recording
from sqlalchemy import Table, create_engine, make_url

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.schema import metadata
from elspeth.core.landscape.verification.verify import verify

OLD = b'{"record_type": the output of an earlier export, which does not verify}\r\n'
"""Damaged JSON. `reconcile` does not judge unknown record types: another version may write them."""
UNFINISHED = ".export-"
"""The prefix of all names that an export makes beside its target while it is unfinished."""

Read: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
Content: TypeAlias = Mapping[str, bytes]
"""The bytes of a target by file name. The name of a target that is one file is ""."""


@dataclass(frozen=True)
class Recorded:
    """The export status that the database holds for a run."""

    status: str | None
    error: str | None


@dataclass(frozen=True)
class Trail:
    """An audit trail with a finished run, the settings to export it by, and a target.

    Attributes:
        folder: The working directory of exports. It holds `settings.yaml`, and the folder `exports`
            for the target alone.
        url: The database.
        export_format: "json" or "csv".
        tally: Counts the faults of the test.
        run_id: The run.
        sink: The sink in the settings.
        secrets: Texts besides the key that must not be printed.
        undisturbed: An export without a fault, made at the time of the fixed clock.
    """

    folder: Path
    url: str
    export_format: str
    tally: Tally
    run_id: str = "run-1"
    sink: str = "audit"
    secrets: tuple[str, ...] = ()
    undisturbed: Content = field(default_factory=dict)

    @classmethod
    def create(
        cls, folder: Path, url: str, export_format: str, tally: Tally, **more: Any
    ) -> "Trail":
        """Write the settings, and make an export without a fault to compare with."""
        (folder / "exports").mkdir(parents=True)
        trail = cls(folder, url, export_format, tally, **more)
        # JSON is valid YAML.
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
    def backend(self) -> str:
        return make_url(self.url).get_backend_name()

    @property
    def by_settings(self) -> tuple[str, ...]:
        """The arguments that export by the settings, as a pipeline does, and record the status."""
        settings = str(self.settings_file)
        return ("export", "--settings", settings, "--run", self.run_id, "--quiet")

    def by_settings_at(self, url: str) -> tuple[str, ...]:
        """The same arguments for settings with another URL of the database."""
        path = self.folder / "elsewhere.yaml"
        settings = json.loads((self.folder / "settings.yaml").read_text())
        settings["landscape"]["url"] = url
        path.write_text(json.dumps(settings))
        return ("export", "--settings", str(path), "--run", self.run_id, "--quiet")

    @property
    def to_path(self) -> tuple[str, ...]:
        """The arguments that export to a named path, which records no status."""
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

        It runs in this process where the arguments after the command's are not given: a new one
        takes ten times as long, for its imports. Workers of `--jobs` need a new one.

        Args:
            *arguments: The command's arguments.
            prelude: Python code that a new process runs first.
            under: A command that runs this one, such as strace.
            before: Called in the child between fork and exec.
            environ: Variables to add to the environment.
            **popen: Arguments of subprocess.Popen.
        """
        if not (prelude or under or before or popen or "--jobs" in arguments):
            with chdir(self.folder):
                return run_here(arguments, environment() | dict(environ or {}))
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
        """Start the `landscape` command in a new process. The arguments are as in `landscape`."""
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
        """Export by the settings. The arguments are as in `landscape`."""
        return self.landscape(*self.by_settings, *more, **how)

    def reconcile(self, **how: Any) -> Ended:
        """Run `landscape reconcile`, which settles pending exports."""
        return self.landscape("reconcile", "--settings", str(self.settings_file), **how)

    @property
    def settings_file(self) -> Path:
        return self.folder / "settings.yaml"

    def set_target(self, path: str) -> None:
        """Write another target path into the settings."""
        settings = json.loads(self.settings_file.read_text())
        settings["sinks"]["audit"]["options"]["path"] = path
        self.settings_file.write_text(json.dumps(settings))

    def reset(self) -> None:
        """Go back to the start: no export is recorded, and the target holds an old one."""
        self.execute(
            "UPDATE runs SET export_status = NULL, export_error = NULL, exported_at = NULL, "
            "export_format = NULL, export_sink = NULL"
        )
        self.put_old_export()

    def execute(self, *statements: str) -> None:
        """Change the database from this process. SQLite does not check foreign keys here."""
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def save(self) -> Path:
        """Copy an SQLite database that is not being written to, for `put_back`."""
        return Path(shutil.copy(self.database, self.folder / "saved.db"))

    def put_back(self, whole: Path) -> None:
        """Replace the SQLite database by a copy."""
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copy(whole, self.database)

    def wait_until_published(self) -> None:
        """Wait until a running export has moved its output to the target."""
        while self.unfinished():
            time.sleep(0.01)

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Hold the write lock of an SQLite database."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def put_old_export(self) -> None:
        """Put an old export at the target. It does not verify, and a new export replaces it."""
        self.remove_target()
        if self.export_format == "json":
            self.target.write_bytes(OLD)
        else:
            self.target.mkdir()
            (self.target / "run.csv").write_bytes(OLD)

    def remove_target(self) -> None:
        """Remove the target."""
        if self.target.is_dir() and not self.target.is_symlink():
            shutil.rmtree(self.target)
        else:
            self.target.unlink(missing_ok=True)

    def content(self) -> Content | None:
        """Read the target."""
        return content_of(self.target)

    def recorded(self) -> Recorded:
        """Read the export status of the run. A database that cannot be read has none."""
        quoted = self.run_id.replace("'", "''")
        statement = f"SELECT export_status, export_error FROM runs WHERE run_id = '{quoted}'"
        try:
            with self._reader() as read:
                ((status, error),) = read(statement)
        except sqlite3.DatabaseError:
            return Recorded(None, None)
        return Recorded(_text(status), _text(error))

    def evidence(self) -> str:
        """Return a digest of all columns of all tables, except those about the export."""
        digest = hashlib.sha256()
        with self._reader() as read:
            for table in metadata.sorted_tables:
                for row in self._read_evidence(table, read):
                    digest.update(row.encode() + b"\n")
        return digest.hexdigest()

    def unfinished(self) -> list[str]:
        """Return the names of unfinished files beside the target."""
        return [
            path.name for path in self.target.parent.iterdir() if path.name.startswith(UNFINISHED)
        ]

    def is_complete(self) -> bool:
        """Return whether the target has the bytes of an undisturbed export of the same time.

        The manifest holds the time of the export, so its time and its signature are not compared.
        `verify` checks the manifest's canonical form and signature. So every byte is checked.
        """
        content = self.content()
        if content is None or not verify(self.target, KEY.encode(), run_id=self.run_id).ok:
            return False
        return _without_time(content) == _without_time(self.undisturbed)

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

    @contextmanager
    def _reader(self) -> Iterator[Read]:
        """Yield a function that reads from the database without changing its files.

        SQLite gives text as bytes.
        """
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite":
            # A connection that may write would roll back what a killed process left. Without a log
            # or a journal, even a reader would leave a new log behind, unless it is immutable.
            left = any(Path(f"{url.database}{suffix}").exists() for suffix in ("-wal", "-journal"))
            how = "mode=ro" if left else "mode=ro&immutable=1"
            with closing(sqlite3.connect(f"file:{url.database}?{how}", uri=True)) as connection:
                connection.text_factory = bytes
                yield lambda statement: connection.execute(statement).fetchall()
        else:
            with psycopg.connect(url_text(url.set(drivername="postgresql"))) as session:
                session.execute("SET TIME ZONE 'UTC'")
                yield lambda statement: session.execute(statement).fetchall()

    def _read_evidence(self, table: Table, read: Read) -> list[str]:
        columns = [column.name for column in table.columns if not column.name.startswith("export")]
        if self.backend == "postgresql":
            # As text, because the driver cannot convert everything that the server can store.
            columns = [f"{name}::text" for name in columns]
        try:
            return sorted(map(repr, read(f"SELECT {', '.join(columns)} FROM {table.name}")))
        except sqlite3.DatabaseError as error:
            # The test damaged the database: only the readable part can be compared.
            return [str(error)]


def content_of(path: Path) -> Content | None:
    """Read a file, or the files below a directory, by their path in it."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file())
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
    # Reading a pipe would block, and reading a device might not end.
    return {"": path.read_bytes()} if path.is_file() else None


def _without_time(content: Content) -> object:
    """Return the content of an export without its time and the signature over it."""
    if "" in content:
        *lines, last = content[""].splitlines(keepends=True)
        return lines, _fields_without_time(json.loads(last))
    tables = dict(content)
    (manifest,) = csv.DictReader(io.StringIO(tables.pop("manifest.csv").decode()))
    return tables, _fields_without_time(manifest)


def _fields_without_time(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return {k: v for k, v in manifest.items() if k not in ("exported_at", "signature")}


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value


def record(url: str) -> None:
    """Record the sample run in a new or empty database."""
    with LandscapeDB(url) as db:
        put_recording(db, record_sample_run)


def trail_with_many_rows(folder: Path, url: str, export_format: str, tally: Tally) -> Trail:
    """Add rows to the sample run on PostgreSQL, so many that an export takes several fetches."""
    execute(
        make_url(url),
        "INSERT INTO rows (row_id, run_id, source_node_id, row_index, source_data_hash, created_at)"
        " SELECT 'row ' || n, 'run-1', (SELECT min(node_id) FROM nodes), n, 'h', '2026-01-01Z'"
        " FROM generate_series(100, 3100) AS n",
    )
    trail = Trail.create(folder, url, export_format, tally)
    trail.put_old_export()
    return trail
