"""The export that follows a run: its files, and the run's export_status."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sample_run import KEY, SampleRun, fixed_clock, record_sample_run

from elspeth.contracts import ExportStatus, Run, RunStatus
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.error_text import describe_failure
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE, SigningKeyError
from elspeth.core.landscape.output.publish import PublishedExport
from elspeth.core.landscape.pipeline.post_run import export_after_run
from elspeth.core.landscape.verification.verify import verify
from elspeth.core.settings import ElspethSettings

ENVIRON = {KEY_VARIABLE: KEY.decode()}


def settings(path: object, **export: Any) -> ElspethSettings:
    options = {} if path is None else {"path": str(path)}
    return ElspethSettings.model_validate(
        {
            "landscape": {"export": {"enabled": True, "sink": "audit", **export}},
            "sinks": {"audit": {"plugin": "json", "options": options}},
        }
    )


def run_of(db: LandscapeDB, sample: SampleRun) -> Run:
    run = LandscapeRecorder(db).get_run(sample.run_id)
    assert run is not None
    return run


def export(db: LandscapeDB, sample: SampleRun, chosen: ElspethSettings) -> PublishedExport | None:
    return export_after_run(db, sample.run_id, chosen, environ=ENVIRON, clock=fixed_clock)


def test_a_disabled_export_does_nothing(db: LandscapeDB, sample: SampleRun) -> None:
    before = run_of(db, sample)
    assert export(db, sample, ElspethSettings()) is None
    assert run_of(db, sample) == before


def test_a_signed_json_export_is_written_verifies_and_is_recorded_as_completed(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    target = tmp_path / "audit.jsonl"
    published = export(db, sample, settings(target, format="json", sign=True))
    assert published is not None
    assert (published.path, published.record_count) == (target, sample.records + 1)
    assert verify(target, KEY).ok
    run = run_of(db, sample)
    assert run.export_status is ExportStatus.COMPLETED
    assert (run.export_format, run.export_sink, run.export_error) == ("json", "audit", None)
    assert run.exported_at is not None
    assert run.exported_at.replace(tzinfo=None) == fixed_clock().replace(tzinfo=None)


def test_an_unsigned_export_needs_no_key(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    target = tmp_path / "audit.jsonl"
    export_after_run(db, sample.run_id, settings(target, format="json"), environ={})
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(records) == sample.records
    assert "signature" not in records[0]


def test_the_status_is_pending_while_the_export_is_written(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Run] = []
    write = LandscapeExporter.write_csv

    def watched(*arguments: Any, **options: Any) -> PublishedExport:
        seen.append(run_of(db, sample))
        return write(*arguments, **options)

    monkeypatch.setattr(LandscapeExporter, "write_csv", watched)
    export(db, sample, settings(tmp_path / "audit.csv"))
    assert [run.export_status for run in seen] == [ExportStatus.PENDING]
    assert (seen[0].export_format, seen[0].export_sink) == ("csv", "audit")


@pytest.mark.parametrize(
    ("path", "directory"),
    [("audit.csv", "audit"), ("audit.v2.csv", "audit.v2"), ("audit", "audit")],
)
def test_a_csv_export_is_a_directory_named_as_the_sinks_file_without_its_suffix(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, path: str, directory: str
) -> None:
    published = export(db, sample, settings(tmp_path / path, sign=True))
    assert published is not None
    assert published.path == tmp_path / directory
    assert (tmp_path / directory / "manifest.csv").is_file()


def refused(
    db: LandscapeDB, sample: SampleRun, chosen: ElspethSettings, **options: Any
) -> tuple[Exception, Run]:
    """Run an export that fails; return the error, and the run afterwards."""
    with pytest.raises((ValueError, OSError)) as caught:
        export_after_run(db, sample.run_id, chosen, **options)
    return caught.value, run_of(db, sample)


class TestFailing:
    def test_the_status_is_failed_with_the_error_and_the_runs_own_status_untouched(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path
    ) -> None:
        before = run_of(db, sample)
        target = tmp_path / "missing" / "audit.jsonl"
        error, run = refused(db, sample, settings(target, format="json"), environ={})
        assert isinstance(error, FileNotFoundError)
        assert run.export_status is ExportStatus.FAILED
        assert run.export_error == describe_failure(error)
        assert str(tmp_path / "missing") in str(error)
        assert (run.status, run.completed_at) == (RunStatus.COMPLETED, before.completed_at)

    @pytest.mark.parametrize("environ", [{}, {KEY_VARIABLE: "short"}])
    def test_without_a_usable_key_nothing_is_written(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        chosen = settings(tmp_path / "audit.jsonl", format="json", sign=True)
        error, run = refused(db, sample, chosen, environ=environ)
        assert isinstance(error, SigningKeyError)
        assert run.export_status is ExportStatus.FAILED
        assert KEY_VARIABLE in (run.export_error or "")
        assert list(tmp_path.glob("*audit.jsonl*")) == []

    def test_the_key_comes_from_the_process_environment_by_default(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = settings(tmp_path / "audit.jsonl", format="json", sign=True)
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        refused(db, sample, chosen)
        monkeypatch.setenv(KEY_VARIABLE, KEY.decode())
        export_after_run(db, sample.run_id, chosen)
        assert verify(tmp_path / "audit.jsonl", KEY).ok

    @pytest.mark.parametrize("name", ["audit.json", "audit", "audit.jsonl.txt"])
    def test_a_json_sink_of_another_suffix_is_refused_with_a_hint(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path, name: str
    ) -> None:
        error, run = refused(db, sample, settings(tmp_path / name, format="json"), environ={})
        hint = (tmp_path / name).with_suffix(".jsonl").name
        assert str(error).endswith(f"a json export is JSON Lines: name it {hint}")
        assert run.export_status is ExportStatus.FAILED
        assert not (tmp_path / name).exists()

    @pytest.mark.parametrize("path", [None, ""])
    def test_a_sink_without_path_is_refused(
        self, db: LandscapeDB, sample: SampleRun, path: str | None
    ) -> None:
        error, run = refused(db, sample, settings(path), environ={})
        assert "'audit' has no path among its options" in str(error)
        assert run.export_status is ExportStatus.FAILED

    def test_the_earlier_export_is_kept(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path
    ) -> None:
        chosen = settings(tmp_path / "audit.jsonl", format="json", sign=True)
        export(db, sample, chosen)
        before = (tmp_path / "audit.jsonl").read_bytes()
        refused(db, sample, chosen, environ={})
        assert (tmp_path / "audit.jsonl").read_bytes() == before

    def test_a_later_success_clears_the_error(
        self, db: LandscapeDB, sample: SampleRun, tmp_path: Path
    ) -> None:
        chosen = settings(tmp_path / "audit.jsonl", format="json", sign=True)
        refused(db, sample, chosen, environ={})
        export(db, sample, chosen)
        run = run_of(db, sample)
        assert (run.export_status, run.export_error) == (ExportStatus.COMPLETED, None)

    def test_an_unknown_run_is_named(self, db: LandscapeDB, tmp_path: Path) -> None:
        with pytest.raises(RunNotFoundError, match="nobody"):
            export_after_run(db, "nobody", settings(tmp_path / "out.csv"), environ={})
        assert not (tmp_path / "out").exists()

    def test_the_status_is_recorded_in_memory_too_when_the_disk_fills_up_midway(
        self,
        tmp_path: Path,
        full_disk: AbstractContextManager[None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("elspeth.core.landscape.output.publish._CHUNK_RECORDS", 5)
        chosen = settings(tmp_path / "audit.jsonl", format="json")
        with LandscapeDB.in_memory() as db:
            sample = record_sample_run(LandscapeRecorder(db))
            with full_disk:
                error, run = refused(db, sample, chosen, environ={})
        assert "File too large" in str(error)
        assert run.export_status is ExportStatus.FAILED
        assert list(tmp_path.iterdir()) == []
