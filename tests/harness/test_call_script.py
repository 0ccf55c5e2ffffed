"""Call scripts report what an exporter did, step by step, in plain JSON values."""

import json
import os
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.exporters.probe.call_places import Text
from harness.exporters.probe.call_script import MAX_RECORDS, STEPS, perform
from harness.generate.generator import generate_run
from harness.generate.presets import preset

KEY = b"a key of these tests, 32 bytes..".hex()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[LandscapeDB]:
    with LandscapeDB(f"sqlite:///{tmp_path / 'x.db'}") as db:
        generate_run(db, preset("tiny", run_id="r"))
        yield db


def performed(db: Any, directory: Path, *steps: Any, factory: Any = LandscapeExporter) -> Any:
    (directory / "script").mkdir()
    outcomes = perform({"steps": steps}, factory, [db], directory / "script")
    # As they pass between processes.
    return json.loads(json.dumps(outcomes))


def step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"step": name, **arguments}


def test_every_record_is_written_up_to_the_error(db: LandscapeDB, tmp_path: Path) -> None:
    outcomes = performed(
        db,
        tmp_path,
        step("build", exporter="a", key=KEY),
        step("fail", query=2, row=3),
        step("export", exporter="a", run_id="r"),
        step("seen"),
        step("export", exporter="a", run_id="r"),
    )
    _, _, failed, seen, after = outcomes
    assert failed["error"]["classes"][0] == "OperationalError"
    lines = (tmp_path / "script" / failed["records"]).read_text().splitlines()
    assert json.loads(lines[0])["record_type"] == "run"
    assert seen["raised"]
    assert seen["queries"][1]["table"] == "nodes"
    assert after["error"] is None


def test_a_fault_is_raised_when_a_query_is_sent(db: LandscapeDB, tmp_path: Path) -> None:
    outcomes = performed(
        db,
        tmp_path,
        step("build", exporter="a"),
        step("fail", query=1),
        step("export", exporter="a", run_id="r"),
        step("fail"),
        step("export", exporter="a", run_id="r"),
        step("seen"),
    )
    assert outcomes[2]["error"]["classes"][0] == "OperationalError"
    assert [each["rows"] for each in outcomes[5]["queries"]][:3] == [1, 4, 3]
    assert not outcomes[5]["raised"]


def test_open_connections_are_counted(db: LandscapeDB, tmp_path: Path) -> None:
    outcomes = performed(
        db,
        tmp_path,
        step("build", exporter="a"),
        step("open", iterator="i", exporter="a", run_id="r"),
        step("read", iterator="i", count=2),
        step("connections"),
        step("drop", iterators=["i"]),
        step("connections"),
    )
    assert outcomes[3]["checked_out"] == 1
    listeners = outcomes[3]["listeners"]
    assert outcomes[5] == {
        "error": None,
        "checked_out": 0,
        "locked": False,
        "listeners": listeners,
        "threads": 0,
        "open_files": outcomes[3]["open_files"],
    }


def test_a_transaction_that_writes_is_seen(db: LandscapeDB, tmp_path: Path) -> None:
    with db.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        (outcome,) = performed(db, tmp_path, step("connections"))
    assert outcome["locked"]


def test_a_method_that_is_missing_is_reported(db: LandscapeDB, tmp_path: Path) -> None:
    class Smallest:
        def __init__(self, db: Any, signing_key: Any = None) -> None:
            pass

        def export_run(self, run_id: str, sign: bool = False) -> Any:
            return [{"record_type": "run"}, "no dict"]

    build, grouped, written, exported = performed(
        db,
        tmp_path,
        step("build", exporter="a"),
        step("group", exporter="a", run_id="r"),
        step("write", exporter="a", run_id="r", target="x.jsonl"),
        step("export", exporter="a", run_id="r"),
        factory=Smallest,
    )
    assert not build["takes_clock"]
    assert grouped["missing"] == "export_run_grouped"
    assert written["missing"] == "write_jsonl"
    assert "record 2 is not a dict" in exported["error"]["message"]


def test_the_process_is_left_as_it_was(db: LandscapeDB, tmp_path: Path) -> None:
    before = (Path.cwd(), dict(os.environ), tempfile.gettempdir(), os.umask(0o022))

    class Careless(LandscapeExporter):
        def export_run(self, run_id: str, sign: bool = False) -> Any:
            os.chdir("/")
            os.umask(0)
            os.environ["CARELESS"] = "yes"
            Path(tempfile.gettempdir(), "left").touch()
            return super().export_run(run_id, sign=sign)

    first, _, _, files, last = performed(
        db,
        tmp_path,
        step("state"),
        step("build", exporter="a"),
        step("export", exporter="a", run_id="r"),
        step("files"),
        step("state"),
        factory=Careless,
    )
    os.umask(before[3])
    assert (Path.cwd(), dict(os.environ), tempfile.gettempdir()) == before[:3]
    changed = [name for name in first["state"] if first["state"][name] != last["state"][name]]
    assert changed == ["environment", "current directory", "umask"]
    assert [name for name, *_ in files["temporary"]] == ["left"]


def test_links_are_listed_and_not_followed(db: LandscapeDB, tmp_path: Path) -> None:
    *_, files = performed(
        db,
        tmp_path,
        step("build", exporter="a"),
        step("place", target="old", text="old"),
        step("link", target="symbolic", to="old"),
        step("link", target="dangling", to="nothing"),
        step("link", target="hard", to="old", hard=True),
        step("write", exporter="a", run_id="r", target="new", relative=True),
        step("files"),
    )
    found = {name: content for name, _, content in files["targets"]}
    assert sorted(found) == ["dangling", "hard", "new", "old", "symbolic"]
    assert found["symbolic"] == "link to old"
    assert found["dangling"] == "link to nothing"
    assert found["hard"] == found["old"] != found["new"]
    assert files["working"] == []


def test_an_endless_export_ends(
    db: LandscapeDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.exporters.probe.call_script.MAX_RECORDS", 10)

    class Endless(LandscapeExporter):
        def export_run(self, run_id: str, sign: bool = False) -> Any:
            return iter(lambda: {"record_type": "run"}, None)

    _, outcome = performed(
        db,
        tmp_path,
        step("build", exporter="a"),
        step("export", exporter="a", run_id="r"),
        factory=Endless,
    )
    assert outcome["error"]["message"] == "more than 10 records"
    assert MAX_RECORDS > 10


def test_every_step_has_a_description() -> None:
    assert all(method.__doc__ for method in STEPS.values())


def test_a_run_id_of_another_class_can_be_sent_to_a_new_process() -> None:
    sent = pickle.loads(pickle.dumps(Text("run")))
    assert (type(sent), sent) == (str, "run")
