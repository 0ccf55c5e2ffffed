"""All ways to export a run write the same bytes, also for values that are spelt in several ways."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from sample_run import KEY, fixed_clock, record_sample_run
from sqlalchemy import text

from elspeth.core.compression import Compression
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.verification.verify import verify

RUN_ID = "run-1"
NUMBERS: Sequence[float] = (
    *(-0.0, 0.0, 5.0, 1e20, 1e21, 1e22, 2.0**53, 2.0**63, 2.0**64, 1.7976931348623157e308),
    *(5e-324, 1e-7, 9.999e-6, 1e-5, 0.1, 1 / 3, -1e-300, -4.5),
)
TEXTS = (
    '"latency_ms":0,"duration_ms":0',
    'a "quote", a comma',
    "two\r\nlines\n",
    "\u2028 \U0001f600 \u0085",
    "=1+1",
    " ",
    "",
)


@pytest.fixture
def unusual(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a run that holds the numbers and the texts."""
    name = f"sqlite:///{tmp_path}/audit.db"
    url = name if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres_url"))
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db))
        with db.connection() as connection:
            state, request_hash = connection.execute(
                text("SELECT state_id, request_hash FROM calls ORDER BY call_id LIMIT 1")
            ).one()
            connection.execute(
                text(
                    "INSERT INTO calls (call_id, state_id, call_index, call_type, status,"
                    " request_hash, created_at, latency_ms) VALUES"
                    " (:call_id, :state, :at, 'llm', 'success', :hash, '2026-01-01 00:00:00', :ms)"
                ),
                [
                    {
                        "call_id": f"call-{at}",
                        "state": state,
                        "at": 100 + at,
                        "hash": TEXTS[at] if at < len(TEXTS) else request_hash,
                        "ms": number,
                    }
                    for at, number in enumerate(NUMBERS)
                ],
            )
    return url


def content(path: Path) -> Mapping[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("unusual", ["sqlite", "postgresql"], indirect=True)
def test_every_way_writes_the_same_bytes(unusual: str, tmp_path: Path) -> None:
    with LandscapeDB(unusual, read_only=True) as db:
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
        control = LegacyLandscapeExporter(db, KEY, clock=fixed_clock)
        for sign in (True, False):
            folder = tmp_path / f"sign {sign}"
            folder.mkdir()
            exporter.write_csv(RUN_ID, folder / "csv", sign=sign)
            control.write_csv(RUN_ID, folder / "csv control", sign=sign)
            tables = content(folder / "csv")
            # SQLite stores 0.0 in its place.
            assert (b",-0.0," in tables["call.csv"]) == unusual.startswith("postgresql")
            assert content(folder / "csv control") == tables

            exporter.write_jsonl(RUN_ID, folder / "one", sign=sign)
            control.write_jsonl(RUN_ID, folder / "control", sign=sign)
            exporter.write_jsonl(RUN_ID, folder / "gz", sign=sign, compression=Compression.GZIP)
            lines = (folder / "one").read_bytes()
            assert (folder / "control").read_bytes() == lines
            assert gzip.decompress((folder / "gz").read_bytes()) == lines
            # Signed alone: to start processes takes long.
            if sign:
                exporter.write_csv(RUN_ID, folder / "csv 2", sign=sign, jobs=2)
                exporter.write_jsonl(RUN_ID, folder / "two", sign=sign, jobs=2)
                assert content(folder / "csv 2") == tables
                assert (folder / "two").read_bytes() == lines
            assert b"".join(block.lines for block in exporter.export_blocks(RUN_ID, sign)) == lines
            for path in folder.iterdir():
                assert verify(path, KEY, allow_unsigned=not sign).defects == ()
