"""Comparison of two exporters on a stored run: records, files, signatures, manifest and errors."""

import csv
import hmac
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.output.publish import PublishedExport
from harness.compare import files
from harness.compare.capture import Capture, capture
from harness.compare.difference import Difference, Kind
from harness.compare.exports import (
    SIGNING_KEY,
    assert_same_export,
    compare_exports,
    fixed_clock,
)
from harness.exporters.measured import control_for
from harness.exporters.subject import (
    CONTROL,
    DEFAULT_CANDIDATE,
    Subject,
    SubjectError,
    load_subject,
)
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.verdict import VerdictError

SPEC = preset("tiny", run_id="compared")


@pytest.fixture
def stored(db: LandscapeDB) -> LandscapeDB:
    generate_run(db, SPEC)
    return db


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LandscapeDB]:
    """A run on SQLite that no test changes."""
    with LandscapeDB(f"sqlite:///{tmp_path_factory.mktemp('run') / 'audit.db'}") as db:
        generate_run(db, SPEC)
        yield db


class Changing(LandscapeExporter):
    """Passes its records through a method that a test overrides."""

    def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return records

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        return self.changed(super()._iter_records(run_id))


def subject(factory: Any) -> Subject:
    return Subject(factory.__name__, factory)


def test_the_batched_exporter_is_the_same_to_the_byte_on_every_backend(
    stored: LandscapeDB,
) -> None:
    comparison = compare_exports(stored, SPEC.run_id, candidate=load_subject(DEFAULT_CANDIDATE))
    assert comparison.identical, comparison.verdict()
    assert comparison.control_sha256 == comparison.candidate_sha256
    assert comparison.records > 90


def test_unsigned_exports_compare_as_well(one_run: LandscapeDB) -> None:
    comparison = compare_exports(
        one_run, SPEC.run_id, candidate=load_subject(DEFAULT_CANDIDATE), signing_key=None
    )
    assert comparison.identical


def test_an_in_memory_database_is_compared_one_side_after_the_other() -> None:
    with LandscapeDB.in_memory() as db:
        generate_run(db, SPEC)
        assert_same_export(db, SPEC.run_id, candidate=load_subject(DEFAULT_CANDIDATE))


def test_a_difference_is_an_assertion_error_whose_first_line_names_it(
    one_run: LandscapeDB,
) -> None:
    class WithoutCalls(Changing):
        def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            return (each for each in records if each["record_type"] != "call")

    with pytest.raises(VerdictError) as caught:
        assert_same_export(one_run, SPEC.run_id, candidate=subject(WithoutCalls))
    assert isinstance(caught.value, AssertionError)
    assert str(caught.value).startswith("WithoutCalls: missing, call cal-")


def test_a_given_control_replaces_the_default(one_run: LandscapeDB) -> None:
    class Empty(Changing):
        def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            return iter(())

    candidate = load_subject(DEFAULT_CANDIDATE)
    assert_same_export(one_run, SPEC.run_id, candidate=candidate)
    with pytest.raises(VerdictError, match="of Empty, to the byte"):
        assert_same_export(one_run, SPEC.run_id, candidate=candidate, control=subject(Empty))


def test_the_byte_offset_is_where_the_record_starts_in_the_controls_file(
    one_run: LandscapeDB, tmp_path: Path
) -> None:
    class OneChanged(Changing):
        def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            for record in records:
                yield record | {"plugin_version": "?"} if "plugin_version" in record else record

    comparison = compare_exports(
        one_run, SPEC.run_id, candidate=subject(OneChanged), directory=tmp_path / "kept"
    )
    difference = comparison.difference
    assert difference is not None
    assert difference.byte_offset is not None
    content = (tmp_path / "kept" / "control" / "export.jsonl").read_bytes()
    record = json.loads(content[difference.byte_offset :].split(b"\n")[0])
    assert f"node {record['node_id']}" == difference.record


def test_a_file_that_differs_from_the_records_is_caught(one_run: LandscapeDB) -> None:
    class SpacesInJson(LandscapeExporter):
        def write_jsonl(self, run_id: str, path: Path, sign: bool = False, **_: Any) -> Any:
            lines = (json.dumps(each) + "\n" for each in self.export_run(run_id, sign=sign))
            path.write_text("".join(lines))

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(SpacesInJson)).difference
    assert difference is not None
    assert difference.headline == "bytes, export.jsonl, line 1"
    assert difference.byte_offset == 2


def test_a_csv_file_that_differs_is_named(one_run: LandscapeDB) -> None:
    class UnixLineEnds(LandscapeExporter):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_csv(run_id, directory, sign=sign)
            path = directory / "edge.csv"
            path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
            return published

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(UnixLineEnds)).difference
    assert difference is not None
    assert difference.headline == "bytes, csv/edge.csv, line 1"


def test_a_forgotten_csv_file_is_missing(one_run: LandscapeDB) -> None:
    class ForgetsCalls(LandscapeExporter):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_csv(run_id, directory, sign=sign)
            (directory / "call.csv").unlink()
            return published

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(ForgetsCalls)).difference
    assert difference is not None
    assert (difference.kind, difference.place) == (Kind.MISSING_FILE, "csv/call.csv")


def test_a_csv_file_that_no_record_belongs_to_is_extra(one_run: LandscapeDB) -> None:
    class LeavesAFile(LandscapeExporter):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_csv(run_id, directory, sign=sign)
            (directory / "stale.csv").write_text("record_type\r\n")
            return published

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(LeavesAFile)).difference
    assert difference is not None
    assert difference == Difference(Kind.EXTRA_FILE, "no file", "a file", "csv/stale.csv")


def test_a_file_of_an_earlier_export_is_named_as_such(one_run: LandscapeDB) -> None:
    class KeepsOldFiles(LandscapeExporter):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            earlier = {path.name: path.read_bytes() for path in directory.iterdir()}
            published = super().write_csv(run_id, directory, sign=sign)
            for name in earlier.keys() - {path.name for path in directory.iterdir()}:
                (directory / name).write_bytes(earlier[name])
            return published

    # Without a signature there is no manifest to replace that of the earlier export.
    difference = compare_exports(
        one_run, SPEC.run_id, candidate=subject(KeepsOldFiles), signing_key=None
    ).difference
    assert difference is not None
    assert (difference.kind, difference.place) == (Kind.EXTRA_FILE, "csv/manifest.csv")
    assert difference.hint == ("left by an earlier export: write to a new directory, then replace")


def test_a_file_that_was_never_written_is_missing(one_run: LandscapeDB) -> None:
    class WritesNoFile(LandscapeExporter):
        def write_jsonl(self, run_id: str, path: Path, sign: bool = False, **_: Any) -> Any:
            return PublishedExport(path, 0, 0, "")

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(WritesNoFile)).difference
    assert difference is not None
    assert (difference.kind, difference.place) == (Kind.MISSING_FILE, "export.jsonl")


def test_of_several_missing_files_the_first_by_name_is_reported(one_run: LandscapeDB) -> None:
    class LosesFiles(LandscapeExporter):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_csv(run_id, directory, sign=sign)
            for name in ("token", "edge", "run"):
                (directory / f"{name}.csv").unlink()
            (directory / "a.csv").write_text("record_type\r\n")
            return published

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(LosesFiles)).difference
    assert difference == Difference(Kind.MISSING_FILE, "a file", "none", "csv/edge.csv")


def test_a_capture_has_a_directory_for_itself(one_run: LandscapeDB, tmp_path: Path) -> None:
    def captured() -> Capture:
        return capture(
            load_subject(DEFAULT_CANDIDATE),
            one_run,
            SPEC.run_id,
            signing_key=SIGNING_KEY,
            clock=fixed_clock,
            directory=tmp_path / "new" / "folder",
        )

    found = captured()
    assert found.directory == tmp_path / "new" / "folder"
    assert found.jsonl.is_file()
    with pytest.raises(FileExistsError):
        captured()


class WithoutClock(LandscapeExporter):
    """Reads its own clock, a later moment each time."""

    def __init__(self, db: LandscapeDB, signing_key: bytes | None = None) -> None:
        super().__init__(db, signing_key)


class LocalTimes(LandscapeExporter):
    """Takes no clock, and writes a time without an offset."""

    def __init__(self, db: LandscapeDB, signing_key: bytes | None = None) -> None:
        super().__init__(db, signing_key, clock=lambda: datetime(2026, 1, 1))


def test_the_manifest_of_an_exporter_without_a_clock_is_verified_not_byte_compared(
    one_run: LandscapeDB,
) -> None:
    comparison = compare_exports(one_run, SPEC.run_id, candidate=subject(WithoutClock))
    assert comparison.identical, comparison.verdict()
    # A valid time and signature are set aside in the hash as well.
    assert comparison.control_sha256 == comparison.candidate_sha256


def test_a_manifest_whose_time_has_no_offset_is_caught_without_a_clock_too(
    one_run: LandscapeDB,
) -> None:
    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(LocalTimes)).difference
    assert difference is not None
    assert (difference.kind, difference.field) == (Kind.MANIFEST, "exported_at")


def test_a_manifest_signed_with_another_key_is_caught_without_a_clock_too(
    one_run: LandscapeDB,
) -> None:
    class SignsManifestOtherwise(WithoutClock):
        def _sign_record(self, record: Any) -> str:
            is_manifest = record["record_type"] == "manifest"
            return "0" * 64 if is_manifest else super()._sign_record(record)

    difference = compare_exports(
        one_run, SPEC.run_id, candidate=subject(SignsManifestOtherwise)
    ).difference
    assert difference is not None
    assert (difference.kind, difference.field) == (Kind.MANIFEST, "signature")


def test_a_manifest_that_is_wrong_in_a_file_only_is_caught_without_a_clock_too(
    one_run: LandscapeDB,
) -> None:
    class ForgesManifestFile(WithoutClock):
        def write_csv(self, run_id: str, directory: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_csv(run_id, directory, sign=sign)
            path = directory / "manifest.csv"
            with path.open(newline="") as file:
                (row,) = csv.DictReader(file)
            moment = datetime.now(UTC) + timedelta(days=1)
            path.write_bytes(
                path.read_bytes().replace(row["exported_at"].encode(), str(moment).encode())
            )
            return published

    difference = compare_exports(
        one_run, SPEC.run_id, candidate=subject(ForgesManifestFile)
    ).difference
    assert difference is not None
    assert (difference.kind, difference.place) == (Kind.BYTES, "csv/manifest.csv")


@pytest.mark.parametrize("line", [b"[]", b"null", b"7", b'"x"', b"{}", b"{", b"\xff", b""])
def test_any_last_line_of_a_file_is_a_difference_without_a_clock(
    one_run: LandscapeDB, line: bytes
) -> None:
    class WritesAnyManifest(WithoutClock):
        def write_jsonl(self, run_id: str, path: Path, sign: bool = False, **_: Any) -> Any:
            published = super().write_jsonl(run_id, path, sign=sign)
            *records, _manifest = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(records) + line + b"\n")
            return published

    difference = compare_exports(
        one_run, SPEC.run_id, candidate=subject(WritesAnyManifest)
    ).difference
    assert difference is not None
    assert difference.kind is Kind.BYTES


@pytest.mark.parametrize(
    ("signed_over", "hint"),
    [
        (
            lambda record: {**record, "signature": ""},
            "covers a record that already holds a signature",
        ),
        (lambda record: {**record, "more": 1}, "another key, or other bytes"),
    ],
)
def test_a_wrong_signature_gets_a_hint_about_its_cause(
    one_run: LandscapeDB, signed_over: Any, hint: str
) -> None:
    class SignsOtherwise(LandscapeExporter):
        def _sign_record(self, record: Any) -> str:
            return super()._sign_record(signed_over(record))

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(SignsOtherwise)).difference
    assert difference is not None
    assert difference.kind is Kind.SIGNATURE
    assert hint in difference.hint


def test_a_signature_over_json_dumps_is_recognised(one_run: LandscapeDB) -> None:
    class SignsJsonDumps(LandscapeExporter):
        def _sign_record(self, record: Any) -> str:
            return hmac.new(SIGNING_KEY, json.dumps(record).encode(), "sha256").hexdigest()

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(SignsJsonDumps)).difference
    assert difference is not None
    assert "json.dumps, which is not canonical" in difference.hint


def test_the_control_exports_a_large_run_in_a_separate_process(
    one_run: LandscapeDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.exporters.measured.LARGE_ROWS", 1)
    with control_for(one_run, SPEC.run_id) as control:
        assert not control.is_here
    comparison = compare_exports(one_run, SPEC.run_id, candidate=load_subject(DEFAULT_CANDIDATE))
    assert comparison.identical, comparison.verdict()
    assert comparison.control == "LegacyLandscapeExporter"


def test_an_export_of_nothing_is_vacuous_and_fails(one_run: LandscapeDB) -> None:
    class Nothing(LandscapeExporter):
        def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
            return iter(())

        def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
            return iter(())

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(Nothing)).difference
    assert difference is not None
    assert difference.kind is Kind.VACUOUS


def test_both_refusing_an_unknown_run_with_the_same_words_is_the_same(
    one_run: LandscapeDB,
) -> None:
    comparison = compare_exports(one_run, "nowhere", candidate=load_subject(DEFAULT_CANDIDATE))
    assert comparison.identical
    assert "Run not found: nowhere" in str(comparison.verdict())


def test_refusing_with_other_words_is_an_error_that_differs(one_run: LandscapeDB) -> None:
    class OtherWords(Changing):
        def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            raise KeyError("nowhere")

    difference = compare_exports(one_run, "nowhere", candidate=subject(OtherWords)).difference
    assert difference is not None
    assert difference.headline == "error, expected RunNotFoundError, found KeyError, record 1"


def test_an_error_of_the_candidate_alone_is_reported_with_its_place(
    one_run: LandscapeDB,
) -> None:
    class BreaksOff(Changing):
        def changed(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            yield next(records)
            yield next(records)
            raise RuntimeError("out of cursors")

    difference = compare_exports(one_run, SPEC.run_id, candidate=subject(BreaksOff)).difference
    assert difference is not None
    assert difference.headline == "error, expected no error, found RuntimeError, record 3"
    assert difference.found == "RuntimeError: out of cursors"


def test_the_control_compared_with_itself_is_the_same(one_run: LandscapeDB) -> None:
    assert_same_export(one_run, SPEC.run_id, candidate=load_subject(CONTROL))


# Objects that are not exporters.


class YieldsTuples(LandscapeExporter):
    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Any]:
        yield ("run", run_id)


class NeverEnds(LandscapeExporter):
    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        while True:
            yield {"record_type": "run", "run_id": run_id}


class TakesNoRun(LandscapeExporter):
    def export_run(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        yield {}


class NeedsMore(LandscapeExporter):
    def __init__(self, db: LandscapeDB, signing_key: bytes | None, clock: Clock, more: int) -> None:
        super().__init__(db, signing_key, clock=clock)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (TakesNoRun, "TakesNoRun.export_run"),
        (NeedsMore, "missing a required argument: 'more'"),
    ],
)
def test_an_object_that_is_not_an_exporter_is_refused_by_name_in_one_line(
    one_run: LandscapeDB, candidate: type[Any], words: str
) -> None:
    with pytest.raises(SubjectError) as caught:
        compare_exports(one_run, SPEC.run_id, candidate=subject(candidate))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (YieldsTuples, "record 1 is not a dict with text keys, but ('run', 'compared')"),
        (NeverEnds, "more than 50 records: if the run is that large, raise the limit of harness"),
    ],
)
def test_an_export_of_no_records_or_without_end_has_failed(
    one_run: LandscapeDB, candidate: type[Any], words: str
) -> None:
    comparison = compare_exports(one_run, SPEC.run_id, candidate=subject(candidate), max_records=50)
    assert comparison.verdict().failed
    assert words in comparison.verdict().seen + str(comparison.difference)


def test_a_module_that_raises_on_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_on_import.py").write_text("raise OSError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SubjectError, match="importing broken_on_import failed: OSError: no lic"):
        load_subject("broken_on_import:Exporter")


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "comparison.md", "exec"), {})


@pytest.mark.parametrize(
    ("content", "byte", "line_start", "shown"),
    [
        (b"one\ntwo\n", 4, 4, r"'two\n'"),
        (b"one\ntwo\n", 8, 8, "the end of the file"),
        (b"", 0, 0, "the end of the file"),
        # From the middle of a long line, or from its start if that is near.
        (b"x\n" + b"a" * 500 + b"b", 502, 2, "'" + "a" * (files._EXCERPT_BYTES // 2) + "b'"),
        (b"x\n" + b"a" * 500, 3, 2, "'" + "a" * files._EXCERPT_BYTES + "'"),
    ],
)
def test_bytes_around_a_difference_are_shown_and_the_end_of_a_file_is_named(
    content: bytes, byte: int, line_start: int, shown: str, tmp_path: Path
) -> None:
    path = tmp_path / "export.jsonl"
    path.write_bytes(content)
    assert files._excerpt(path, files._Mismatch(byte, 2, line_start)) == shown
