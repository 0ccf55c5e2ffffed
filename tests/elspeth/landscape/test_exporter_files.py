"""Tests of exported files: canonical JSON of the records, also with overridden methods."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from sample_run import (
    KEY,
    Exporter,
    Record,
    SampleRun,
    fixed_clock,
)

from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LegacyLandscapeExporter,
)


class TestFiles:
    @pytest.mark.parametrize("sign", [False, True])
    def test_a_jsonl_file_holds_the_canonical_json_of_the_records(
        self, exporter: Exporter, sample: SampleRun, sign: bool, tmp_path: Path
    ) -> None:
        records = list(exporter.export_run(sample.run_id, sign=sign))
        published = exporter.write_jsonl(sample.run_id, tmp_path / "run.jsonl", sign=sign)
        assert published.record_count == len(records)
        assert published.path.read_bytes() == as_jsonl(records)

    @pytest.mark.parametrize("sign", [False, True])
    def test_both_exporters_write_the_same_bytes(
        self,
        candidate: LandscapeExporter,
        control: LegacyLandscapeExporter,
        sample: SampleRun,
        sign: bool,
        tmp_path: Path,
    ) -> None:
        for write in ("write_jsonl", "write_csv"):
            published = [
                getattr(each, write)(sample.run_id, tmp_path / f"{write}-{number}", sign=sign)
                for number, each in enumerate((candidate, control))
            ]
            assert published[0].sha256 == published[1].sha256
            assert published[0].size_bytes == published[1].size_bytes > 0

    def test_every_record_reaches_the_csv_directory(
        self, exporter: Exporter, sample: SampleRun, tmp_path: Path
    ) -> None:
        published = exporter.write_csv(sample.run_id, tmp_path / "run", sign=True)
        assert published.record_count == sample.records + 1
        files = {path.stem: path.read_bytes().count(b"\r\n") for path in published.path.iterdir()}
        grouped = exporter.export_run_grouped(sample.run_id, sign=True)
        assert files == {name: 1 + len(group) for name, group in grouped.items()}

    @pytest.mark.parametrize("name", ["_iter_records", "_sign_record", "export_run"])
    @pytest.mark.parametrize("where", ["subclass", "instance", "class"])
    def test_a_changed_exporter_is_written_as_changed(
        self,
        db: LandscapeDB,
        sample: SampleRun,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        where: str,
    ) -> None:
        changed: Callable[..., Any] = CHANGES[name]
        subclass = type("Changed", (LandscapeExporter,), {})
        if where == "subclass":
            setattr(subclass, name, changed)
        exporter = subclass(db, KEY, clock=fixed_clock)
        if where == "instance":
            setattr(exporter, name, changed.__get__(exporter))
        if where == "class":
            monkeypatch.setattr(LandscapeExporter, name, changed)
        records = list(exporter.export_run(sample.run_id, sign=True))
        exporter.write_jsonl(sample.run_id, tmp_path / "run.jsonl", sign=True)
        assert (tmp_path / "run.jsonl").read_bytes() == as_jsonl(records)
        assert b"changed" in (tmp_path / "run.jsonl").read_bytes()


def as_jsonl(records: Sequence[Record]) -> bytes:
    return b"".join(rfc8785.dumps(record) + b"\n" for record in records)


def changed_records(self: LandscapeExporter, run_id: str) -> Iterator[Record]:
    yield {"record_type": "run", "run_id": run_id, "status": "changed"}


def changed_signature(self: LandscapeExporter, record: Record) -> str:
    return "changed"


def changed_export(self: LandscapeExporter, run_id: str, sign: bool = False) -> Iterator[Record]:
    yield {"record_type": "run", "run_id": run_id, "status": f"changed {sign}"}


CHANGES: dict[str, Callable[..., Any]] = {
    "_iter_records": changed_records,
    "_sign_record": changed_signature,
    "export_run": changed_export,
}
