"""Fixtures: a recorded run, and both exporters on its database."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sample_run import BOTH, KEY, Exporter, Record, SampleRun, fixed_clock, record_sample_run
from shared_recordings import put_recording
from signed_exports import VerifyBytes, export_lines, records_of

from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.verification.verify import Verification, verify

LARGEST_FILE_BYTES = 4096


@pytest.fixture
def full_disk() -> AbstractContextManager[None]:
    """A context in which no file of this process can grow beyond 4096 bytes."""
    return _limited_files()


@contextmanager
def _limited_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def sample(
    db: LandscapeDB, recorder_clock: Callable[[], datetime], recorder_ids: Callable[[], str]
) -> SampleRun:
    """The sample run in `db`, as `recorder` would record it."""
    put_recording(db, record_sample_run, recorder_clock, recorder_ids)
    return SampleRun("run-1")


@pytest.fixture(params=BOTH)
def exporter(request: pytest.FixtureRequest, db: LandscapeDB) -> Exporter:
    """Each exporter in turn, with a key."""
    return request.param(db, KEY, clock=fixed_clock)


@pytest.fixture
def candidate(db: LandscapeDB) -> LandscapeExporter:
    return LandscapeExporter(db, KEY, clock=fixed_clock)


@pytest.fixture
def control(db: LandscapeDB) -> LegacyLandscapeExporter:
    return LegacyLandscapeExporter(db, KEY, clock=fixed_clock)


@pytest.fixture
def constant_recorder(db: LandscapeDB) -> LandscapeRecorder:
    """A recorder whose clock stands still, so that only ids can tell entities apart."""
    return LandscapeRecorder(db, clock=fixed_clock)


@pytest.fixture(scope="session")
def signed_lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a signed export with every record type."""
    return export_lines(tmp_path_factory.mktemp("export"))


@pytest.fixture
def unsigned_records(signed_lines: list[bytes]) -> list[Record]:
    """Its records without signatures, for a test to change and sign again."""
    return records_of(signed_lines)


@pytest.fixture
def verify_bytes(tmp_path: Path) -> VerifyBytes:
    """A function that verifies bytes as a file."""

    def verify_content(content: bytes, key: bytes | None = KEY, **options: Any) -> Verification:
        path = tmp_path / "export.jsonl"
        path.write_bytes(content)
        return verify(path, key, **options)

    return verify_content
