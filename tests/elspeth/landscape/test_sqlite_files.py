"""Reading an SQLite database: nothing beside it changes, and every committed row is read."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from sample_run import KEY, record_sample_run
from sqlalchemy import text

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder, sqlite_files
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.doctor import examine, orphans

ADD_ROW = "UPDATE runs SET config_hash = 'committed last'"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the sample run and without a log."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        record_sample_run(LandscapeRecorder(db))
    return path


@contextmanager
def changed(path: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


def crashed(path: Path, *statements: str, without: str = "") -> None:
    """Leave the files of a process that has run statements and was killed."""
    work = path.with_name("work")
    work.mkdir()
    shutil.copy(path, work / path.name)
    with changed(work / path.name, *statements):
        for file in work.iterdir():
            if not without or not file.name.endswith(without):
                shutil.copy(file, path.parent)
    shutil.rmtree(work)


def in_rollback_mode(path: Path) -> None:
    with changed(path, "PRAGMA journal_mode = DELETE", ADD_ROW):
        pass


def with_log(path: Path) -> None:
    with changed(path, ADD_ROW):
        pass


def of_a_crash(path: Path) -> None:
    crashed(path, ADD_ROW)


def of_a_crash_without_shm(path: Path) -> None:
    crashed(path, ADD_ROW, without="-shm")


def with_an_empty_log(path: Path) -> None:
    with_log(path)
    path.with_name(f"{path.name}-wal").touch()


def with_a_hot_journal(path: Path) -> None:
    in_rollback_mode(path)
    # A small cache makes SQLite write changed pages before the commit.
    crashed(
        path,
        "PRAGMA cache_size = 1",
        "BEGIN",
        "UPDATE rows SET source_data_hash = 'never committed'",
        "UPDATE runs SET config_hash = 'never committed'",
        "CREATE TABLE filler AS SELECT hex(randomblob(20000)) FROM rows",
    )


def with_a_kept_journal(path: Path) -> None:
    with changed(path, "PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = PERSIST", ADD_ROW):
        pass


def with_another_journal(path: Path) -> None:
    in_rollback_mode(path)
    path.with_name(f"{path.name}-journal").write_bytes(b"not a journal" * 100)


STATES: Mapping[str, Callable[[Path], None]] = {
    "rollback mode": in_rollback_mode,
    "WAL": with_log,
    "the log of a crash": of_a_crash,
    "the log of a crash, no -shm": of_a_crash_without_shm,
    "an empty log": with_an_empty_log,
    "a hot journal": with_a_hot_journal,
    "a kept journal": with_a_kept_journal,
    "a journal of other content": with_another_journal,
}


def runs(db: LandscapeDB, _: Path) -> None:
    LandscapeRecorder(db).list_runs()


def counts(db: LandscapeDB, _: Path) -> None:
    with db.connection() as connection:
        count_records(connection, "run-1")


def doctor(db: LandscapeDB, _: Path) -> None:
    examine(db)
    assert list(orphans(db)) == []


def export(db: LandscapeDB, folder: Path) -> None:
    LandscapeExporter(db, KEY).write_jsonl("run-1", folder / "out.jsonl", sign=True)


READERS: Mapping[str, Callable[[LandscapeDB, Path], None]] = {
    each.__name__: each for each in (runs, counts, doctor, export)
}


def listing(folder: Path) -> Mapping[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.iterdir()
    }


@pytest.fixture
def evidence(tmp_path: Path, recorded: Path) -> Path:
    """A database alone in its folder."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "out").mkdir()
    return Path(shutil.copy(recorded, tmp_path / "evidence"))


def config_hash(db: LandscapeDB) -> str:
    with db.connection() as connection:
        return str(connection.execute(text("SELECT config_hash FROM runs")).scalar_one())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("state", STATES)
def test_nothing_beside_a_database_changes(
    evidence: Path, tmp_path: Path, state: str, reader: str
) -> None:
    STATES[state](evidence)
    before = listing(evidence.parent)
    with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as db:
        assert config_hash(db) == "committed last"
        READERS[reader](db, tmp_path / "out")
    assert listing(evidence.parent) == before


def test_a_path_that_is_not_utf_8_is_read_like_any_other(evidence: Path, tmp_path: Path) -> None:
    path = evidence.with_name(os.fsdecode(b"\xff.db"))
    evidence.rename(path)
    of_a_crash(path)
    before = listing(path.parent)
    with LandscapeDB(f"sqlite:///{path}", read_only=True) as db:
        assert config_hash(db) == "committed last"
        export(db, tmp_path / "out")
    assert listing(path.parent) == before


@pytest.mark.parametrize("state", ["the log of a crash", "a hot journal"])
def test_a_url_cannot_ask_to_ignore_committed_rows(evidence: Path, state: str) -> None:
    STATES[state](evidence)
    with pytest.raises(OSError, match="which immutable=1 ignores"):
        LandscapeDB(f"sqlite:///file:{evidence}?immutable=1&uri=true", read_only=True)


@pytest.mark.parametrize("state", ["rollback mode", "WAL", "a kept journal"])
def test_a_url_may_say_that_nobody_writes(evidence: Path, state: str) -> None:
    STATES[state](evidence)
    before = listing(evidence.parent)
    url = f"sqlite:///file:{evidence}?immutable=1&uri=true"
    with LandscapeDB(url, read_only=True) as db:
        assert config_hash(db) == "committed last"
    assert listing(evidence.parent) == before


@pytest.mark.parametrize("state", STATES)
def test_a_link_is_read_like_the_database(evidence: Path, tmp_path: Path, state: str) -> None:
    STATES[state](evidence)
    before = listing(evidence.parent)
    (tmp_path / "link.db").symlink_to(evidence)
    with LandscapeDB(f"sqlite:///{tmp_path / 'link.db'}", read_only=True) as db:
        assert config_hash(db) == "committed last"
    assert listing(evidence.parent) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence", "link.db", "out"]


@contextmanager
def read_only_mount(folder: Path) -> Iterator[None]:
    tried = subprocess.run(
        ["mount", "--bind", "-o", "ro", folder, folder], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("this user may not mount")
    try:
        if os.access(folder, os.W_OK):
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("state", STATES)
def test_a_database_on_read_only_media_is_read(evidence: Path, tmp_path: Path, state: str) -> None:
    STATES[state](evidence)
    before = listing(evidence.parent)
    with read_only_mount(evidence.parent):
        with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as db:
            assert config_hash(db) == "committed last"
            export(db, tmp_path / "out")
        assert listing(evidence.parent) == before


def test_a_database_in_use_is_read_in_place(
    evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "_copied", lambda path: pytest.fail("copied"))
    with changed(evidence, "BEGIN IMMEDIATE", ADD_ROW, "COMMIT"):
        before = sorted(path.name for path in evidence.parent.iterdir())
        with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as db:
            assert config_hash(db) == "committed last"
            export(db, tmp_path / "out")
        assert sorted(path.name for path in evidence.parent.iterdir()) == before
    assert [path.name for path in evidence.parent.iterdir()] == ["audit.db"]


def test_a_writer_that_comes_later_is_not_disturbed(evidence: Path) -> None:
    with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as db:
        config_hash(db)
        with changed(evidence, ADD_ROW):
            db.close()
            with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as again:
                assert config_hash(again) == "committed last"
    assert [path.name for path in evidence.parent.iterdir()] == ["audit.db"]


def test_a_copy_that_a_writer_overtakes_is_not_read(
    evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_a_crash(evidence)
    copied: list[object] = []

    def copy_and_write(source: Path, target: Path) -> None:
        copied.append(target.write_bytes(source.read_bytes()))
        with evidence.with_name("audit.db-wal").open("ab") as log:
            log.write(b"more")

    monkeypatch.setattr(sqlite_files.shutil, "copyfile", copy_and_write)
    with pytest.raises(OSError, match="changes while it is copied: copy it with its log, as in"):
        LandscapeDB(f"sqlite:///{evidence}", read_only=True)
    assert len(copied) == 6


@pytest.mark.parametrize("moment", ["before the copy", "after the database is copied"])
def test_a_log_that_its_writer_removes_during_the_copy_is_not_missed(
    evidence: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    of_a_crash(evidence)
    copy = shutil.copyfile
    assert evidence.with_name("audit.db-wal").exists()

    def close_writer() -> None:
        with changed(evidence, ADD_ROW):
            pass

    def copied(source: Path, target: Path) -> None:
        if moment == "before the copy":
            close_writer()
        copy(source, target)
        close_writer()

    monkeypatch.setattr(sqlite_files.shutil, "copyfile", copied)
    with LandscapeDB(f"sqlite:///{evidence}", read_only=True) as db:
        assert config_hash(db) == "committed last"
    assert set(listing(evidence.parent)) == {evidence.name}


def test_without_room_for_a_copy_the_command_to_copy_it_is_named(
    evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_a_crash(evidence)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_files.shutil, "copyfile", fail)
    with pytest.raises(OSError, match=r"No space left on device\): copy it .* `cp .*audit\.db\*"):
        LandscapeDB(f"sqlite:///{evidence}", read_only=True)


def test_the_private_copy_is_removed(evidence: Path, tmp_path: Path) -> None:
    of_a_crash(evidence)
    db = LandscapeDB(f"sqlite:///{evidence}", read_only=True)
    copy = Path(str(db.engine.url.database).removeprefix("file://"))
    assert copy.parent != evidence.parent
    assert copy.exists()
    db.close()
    assert not copy.parent.exists()


def test_recording_a_status_keeps_the_journal_mode(evidence: Path) -> None:
    in_rollback_mode(evidence)
    with LandscapeDB(f"sqlite:///{evidence}", create_tables=False) as db:
        LandscapeRecorder(db).list_runs()
    with changed(evidence) as connection, suppress(sqlite3.Error):
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
