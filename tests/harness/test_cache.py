"""The cache of large runs: found again, checked, bounded, shared."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from typer.testing import CliRunner

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.cache import CachedRun, cached_run, cached_runs, clear_cache, default_cache, run_key
from harness.cli import app
from harness.generating.contents import contents_digest
from harness.generator import generate_run
from harness.spec import RunSpec

SPEC = RunSpec(rows=3, states=2, calls=1)
OTHER = replace(SPEC, seed=1)
THIRD = replace(SPEC, seed=2)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def specs_in(cache: Path) -> list[RunSpec]:
    return [each.spec for each in cached_runs(cache)]


def used_at(path: Path, seconds: float) -> None:
    os.utime(path.parent / "entry.json", (seconds, seconds))


def refuse_to_generate(done: int, total: int) -> None:
    raise AssertionError("generated again")


def test_a_cached_run_is_what_would_be_generated(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    with LandscapeDB(f"sqlite:///{path}", read_only=True) as db, LandscapeDB.in_memory() as fresh:
        generate_run(fresh, SPEC)
        assert contents_digest(db) == contents_digest(fresh)


def test_a_run_is_generated_once(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    assert cached_run(SPEC, cache=cache, progress=refuse_to_generate) == path


def test_another_spec_is_another_run(cache: Path) -> None:
    assert cached_run(SPEC, cache=cache) != cached_run(OTHER, cache=cache)
    assert set(specs_in(cache)) == {SPEC, OTHER}


def test_other_tables_make_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_key(SPEC)
    monkeypatch.setattr("harness.cache.metadata", MetaData())
    assert run_key(SPEC) != before


def test_a_file_that_was_changed_is_not_used(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    again = cached_run(SPEC, cache=cache)
    assert again.read_bytes() != bytes(content)
    (entry,) = cached_runs(cache)
    assert entry.is_sound


@pytest.mark.parametrize("name", ["run.db", "entry.json"])
def test_half_an_entry_is_made_whole(cache: Path, name: str) -> None:
    path = cached_run(SPEC, cache=cache)
    (path.parent / name).unlink()
    assert cached_run(SPEC, cache=cache) == path
    (entry,) = cached_runs(cache)
    assert entry.is_sound


def test_notes_that_make_no_sense_are_no_entry(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    (path.parent / "entry.json").write_text('{"spec": {"rows": -1}}')
    assert CachedRun.read(path.parent) is None
    cached_run(SPEC, cache=cache)
    assert specs_in(cache) == [SPEC]


def test_reading_a_cached_run_leaves_nothing_beside_it(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    with LandscapeDB(f"sqlite:///{path}", read_only=True) as db:
        assert list(LandscapeExporter(db).export_run(SPEC.run_id))
        assert sorted(each.name for each in path.parent.iterdir()) == ["entry.json", "run.db"]


# Room.


def test_the_least_recently_used_makes_room(cache: Path) -> None:
    paths = [cached_run(spec, cache=cache) for spec in (SPEC, OTHER)]
    used_at(paths[0], 1000)
    used_at(paths[1], 2000)
    room = sum(path.stat().st_size for path in paths)
    cached_run(SPEC, cache=cache)
    cached_run(THIRD, cache=cache, max_bytes=room)
    assert set(specs_in(cache)) == {SPEC, THIRD}


def test_a_new_run_stays_though_it_is_larger_than_all_room(cache: Path) -> None:
    cached_run(SPEC, cache=cache)
    assert cached_run(OTHER, cache=cache, max_bytes=1).is_file()
    assert specs_in(cache) == [OTHER]


def test_clearing_frees_what_it_says_and_leaves_what_is_not_ours(cache: Path) -> None:
    path = cached_run(SPEC, cache=cache)
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    theirs = cache / "thesis"
    theirs.mkdir()
    assert clear_cache(cache) == size
    assert list(cache.iterdir()) == [theirs]


def test_a_cache_that_does_not_exist_is_empty(cache: Path) -> None:
    assert cached_runs(cache) == []
    assert clear_cache(cache) == 0
    assert not cache.exists()


# Interruptions and company.


def test_an_interrupted_run_leaves_nothing(cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_run(SPEC, cache=cache, progress=interrupt)
    assert list(cache.iterdir()) == []


def test_what_a_killed_writer_left_goes_after_a_while_and_not_before(cache: Path) -> None:
    left, alive = (cache / f".unfinished-{digit * 32}" for digit in "01")
    for directory in (left, alive):
        directory.mkdir(parents=True)
        (directory / "run.db").write_bytes(b"half a run")
    long_ago = time.time() - 3600
    for path in (left / "run.db", left):
        os.utime(path, (long_ago, long_ago))
    cached_run(SPEC, cache=cache)
    assert not left.exists()
    clear_cache(cache)
    assert alive.exists()


def test_many_at_once_get_one_sound_run(cache: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        paths = set(threads.map(lambda spec: cached_run(spec, cache=cache), [SPEC] * 4))
    (entry,) = cached_runs(cache)
    assert paths == {entry.path}
    assert entry.is_sound
    assert [each.name for each in cache.iterdir()] == [run_key(SPEC)]


# Where it is, and the command.


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/mine")
    assert default_cache() == Path("/var/cache/mine/elspeth-harness/runs")


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_a_relative_path_in_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert default_cache() == Path("/home/someone/.cache/elspeth-harness/runs")


def test_the_command_generates_into_the_cache_lists_it_and_clears_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def harness(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    url = harness("generate", "--preset", "tiny", "--cache").splitlines()[-1]
    with LandscapeDB(url, read_only=True) as db:
        assert list(LandscapeExporter(db).export_run("run"))
    assert "1 kept" in harness("cache", "list")
    assert "freed" in harness("cache", "clear")
    assert "0 kept" in harness("cache", "list")
