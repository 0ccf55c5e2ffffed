"""Checkouts of other shapes are judged, or refused with one line: their class, engine and import.

Every shape is the stand-in of `foreign_checkout` with one change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import Command
from foreign_checkout import EXPORTER, lay_out
from pydantic import BaseModel

from elspeth.cli.runtime import Terminated
from elspeth.core.landscape import LandscapeDB
from harness.compare.exports import SIGNING_KEY, compare_exports, fixed_clock
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import InThisProcess, in_own_process
from harness.exporters.observation import ExportTask
from harness.exporters.probe.database import _require_engine
from harness.exporters.probe.exports import NotAnExporterError, build_exporter, write_records
from harness.exporters.probe.imports import load_factory
from harness.exporters.subject import Subject as TrialSubject
from harness.exporters.subject import SubjectError
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

CLASS = "self, db: LandscapeDB, signing_key: bytes | None = None"
ENGINE = "        if self._engine is None:"


def changed(folder: Path, file: str, old: str, new: str) -> Path:
    """Lay out the stand-in with one text of a file replaced, and return its `--src`."""
    src = lay_out(folder / "checkout")
    path = src / "elspeth" / "core" / "landscape" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return src


@pytest.mark.parametrize(
    "signature",
    [
        "self, *, db: LandscapeDB, signing_key: bytes | None = None",
        "self, db: LandscapeDB, *, signing_key: bytes | None = None",
        "self, db: LandscapeDB, tenant: str = '', signing_key: bytes | None = None",
    ],
)
def test_the_key_and_the_database_are_given_by_name_where_they_have_to_be(
    tmp_path: Path, signature: str
) -> None:
    src = changed(tmp_path, "exporter.py", CLASS, signature)
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db,
        in_own_process(EXPORTER, src=src) as exporter,
    ):
        run_id = generate_run(db, RunSpec(rows=1)).run_id
        assert compare_exports(db, run_id, candidate=exporter).identical


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "exporter.py",
            CLASS,
            "self, db: LandscapeDB, tenant: str, signing_key: bytes | None = None",
            "cannot be called as an exporter: missing a required argument: 'tenant'",
        ),
        (
            "database.py",
            ENGINE,
            "        return self.connection_string\n" + ENGINE,
            "LandscapeDB opens is a builtins.str, not an SQLAlchemy Engine; name a function",
        ),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_with_one_line(
    tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    src = changed(tmp_path, file, old, new)
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db,
        in_own_process(EXPORTER, src=src) as exporter,
    ):
        task = ExportTask(db, "run", SIGNING_KEY, fixed_clock, tmp_path)
        with pytest.raises(SubjectError) as caught:
            exporter.export_records(task)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("command", "code"), [("bench", 1), ("gate", 1), ("baseline", 2)])
def test_an_exporter_that_ends_its_process_at_import_does_not_end_the_command(
    harness_command: Command,
    command: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ending.py").write_text("import os\nos._exit(0)\n")
    monkeypatch.chdir(tmp_path)
    ended = harness_command(command, "--candidate", "ending:Exporter")
    assert ended.code == code
    # The verdict of a command that judges, and the error of one that only counts.
    said = ended.out if code == 1 else ended.err
    assert "ending:Exporter: importing it: it ended its process with" in " ".join(said.split())


def test_the_accepted_costs_of_our_exporter_are_not_those_of_another_checkout(
    harness_command: Command, tmp_path: Path
) -> None:
    src = lay_out(tmp_path / "checkout")
    ended = harness_command("baseline", "--src", src, "--update")
    assert (ended.code, ended.out) == (2, "")
    assert "name one of this checkout with --file" in ended.err


# The class itself, and what it yields.


class Subject:
    """An exporter whose `export_run` is replaced."""

    def __init__(self, db: object, signing_key: bytes | None = None) -> None:
        """Accept what every exporter does."""

    def export_run(self, run_id: str, sign: bool = False) -> Any:
        """Yield nothing."""
        return iter(())


class AsyncGenerator(Subject):
    """Its records can be awaited only."""

    async def export_run(self, run_id: str, sign: bool = False) -> Any:
        """Yield a record."""
        yield {}


class Coroutine(Subject):
    """Its list can be awaited only."""

    async def export_run(self, run_id: str, sign: bool = False) -> Any:
        """Return a list."""
        return []


async def make_later(db: object, signing_key: bytes | None = None) -> Subject:
    """Return an exporter that has to be awaited."""
    return Subject(db, signing_key)


class OtherMethod:
    """Its method has another name."""

    def __init__(self, db: object, signing_key: bytes | None = None) -> None:
        """Accept what every exporter does."""


class OtherName:
    """Its database has another name."""

    def __init__(self, *, database: object, signing_key: bytes | None = None) -> None:
        """Accept a database by name."""


class OtherKey:
    """Its key has another name."""

    def __init__(self, *, db: object, key: bytes | None = None) -> None:
        """Accept a key by name."""


class RunByName(Subject):
    """Its run is given by name."""

    def export_run(self, *, run_id: str, sign: bool = False) -> Any:
        """Yield nothing."""


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (AsyncGenerator, "export_run is asynchronous"),
        (Coroutine, "export_run is asynchronous"),
        (make_later, "Subject is asynchronous; name a function or class"),
        (OtherMethod, "no export_run method; name a function or class"),
        (OtherName, "cannot be called as an exporter: too many positional arguments; name a"),
        (OtherKey, "cannot be called as an exporter: too many positional arguments; name a"),
        (RunByName, "cannot be called as an exporter: too many positional arguments; name a"),
    ],
)
def test_an_exporter_that_is_called_otherwise_is_refused_with_the_way_out(
    factory: Callable[..., Any], words: str
) -> None:
    with pytest.raises(NotAnExporterError) as caught:
        build_exporter("Subject", factory, object(), None, None)
    assert words in str(caught.value)
    assert "--candidate module:attribute" in str(caught.value)


@dataclass
class Record:
    """A record as an object."""

    record_type: str = "run"


class Model(BaseModel):
    """A record as a Pydantic model."""

    record_type: str = "run"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "export_run returned a NoneType instead of records"),
        (3, "export_run returned a int instead of records"),
        ([Record()], "record 1 is not a dict with text keys, but Record(record_type='run')"),
        ([Model()], "record 1 is not a dict with text keys, but Model(record_type='run')"),
        ([b'{"record_type": "run"}'], "record 1 is not a dict with text keys, but b'{"),
        ("/tmp/export.jsonl", "record 1 is not a dict with text keys, but '/'"),
        ([{"record_type": "run"}, {1: 2}], "record 2 is not a dict with text keys, but {1: 2}"),
    ],
)
def test_what_holds_no_records_is_named(tmp_path: Path, returned: object, words: str) -> None:
    exporter = SimpleNamespace(export_run=lambda run_id, sign: returned)
    answer = write_records(lambda: exporter, "run", tmp_path / "records", sign=False, max_records=9)
    assert answer["error"]["message"].startswith(words)


def test_a_method_of_a_class_makes_the_exporter_and_opens_the_database(tmp_path: Path) -> None:
    src = changed(
        tmp_path,
        "exporter.py",
        "    def export_run_grouped(",
        "    @classmethod\n"
        "    def make(cls, db: LandscapeDB, signing_key: bytes | None = None) -> Self:\n"
        "        return cls(db, signing_key)\n\n"
        "    def export_run_grouped(",
    )
    file = src / "elspeth" / "core" / "landscape" / "exporter.py"
    file.write_text(file.read_text().replace("import Any", "import Any, Self"))
    opener = "elspeth.core.landscape:LandscapeDB.from_url"
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db,
        in_own_process(f"{EXPORTER}.make", src=src, database=opener) as exporter,
    ):
        run_id = generate_run(db, RunSpec(rows=1)).run_id
        assert compare_exports(db, run_id, candidate=exporter).identical
        observed = exporter.observe(ExportTask(db, run_id, SIGNING_KEY, fixed_clock, tmp_path))
    sites = {each.site.path for each in observed.activity.shapes if each.site is not None}
    # Its loops, and not the methods of the recorder that all of its project calls.
    assert sites == {str(file)}


def test_a_package_that_is_a_symbolic_link_lies_in_the_folder_of_the_link(tmp_path: Path) -> None:
    src = lay_out(tmp_path / "checkout")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "elspeth").symlink_to(src / "elspeth")
    with in_own_process(EXPORTER, src=linked) as exporter:
        place = exporter.defined_at
    assert place is not None
    assert place.path == str(linked / "elspeth" / "core" / "landscape" / "exporter.py")


def test_a_package_without_init_that_another_one_hides_is_named_with_the_way_out(
    tmp_path: Path,
) -> None:
    src = lay_out(tmp_path / "checkout")
    (src / "elspeth" / "__init__.py").unlink()
    with pytest.raises(
        SubjectError, match=r"has no __init__\.py, so name their environment, as with"
    ):
        in_own_process(EXPORTER, src=src)


def test_an_exporter_that_takes_an_engine_is_told_what_it_gets(tmp_path: Path) -> None:
    class TakesEngine(Subject):
        def __init__(self, engine: Any, signing_key: bytes | None = None) -> None:
            engine.connect()

    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        run_id = generate_run(db, RunSpec(rows=1)).run_id
        exporter = InThisProcess(TrialSubject("TakesEngine", TakesEngine))
        verdict = compare_exports(db, run_id, candidate=exporter).verdict()
    assert "AttributeError: 'LandscapeDB' object has no attribute 'connect'" in str(verdict)
    assert "If it takes an engine, a session or a URL, name a function" in verdict.next_step


def test_an_asynchronous_engine_is_refused_with_the_way_out() -> None:
    class Engine:
        sync_engine = None

    with pytest.raises(NotAnExporterError, match=r"is asynchronous .* hold the sync_engine"):
        _require_engine("theirs:Database", Engine())


def test_an_attribute_that_is_no_class_is_named_by_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holds_a_number.py").write_text("Exporter = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotAnExporterError, match="Exporter is a int, not a class or function"):
        load_factory("holds_a_number:Exporter")


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Terminated(), Terminated), (SystemExit(143), ExportFailedError)],
)
def test_a_signal_to_the_harness_is_no_failure_of_the_exporter(
    tmp_path: Path, error: SystemExit, raised: type[BaseException]
) -> None:
    class Ended(Subject):
        def export_run(self, run_id: str, sign: bool = False) -> Any:
            raise error

    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        task = ExportTask(db, "run", SIGNING_KEY, fixed_clock, tmp_path)
        with pytest.raises(raised):
            InThisProcess(TrialSubject("Ended", Ended)).observe(task)
