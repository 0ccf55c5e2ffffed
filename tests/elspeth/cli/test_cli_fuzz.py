"""`landscape` with any of its options and hostile values: a documented exit code and one line."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from command_fuzz import SECRET, Pools, assert_ended_well, call, calls_of, nothing_else_changes
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from sample_run import KEY, record_sample_run

from elspeth.cli import main as cli
from elspeth.cli.found_exports import ATTESTATION_SUFFIX
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE

GOOD_SETTINGS = {
    "landscape": {
        "url": "sqlite:///db/audit.db",
        "export": {"enabled": True, "sink": "s", "format": "json", "sign": False},
    },
    "sinks": {"s": {"plugin": "json", "options": {"path": "out/audit.jsonl"}}},
}
EXAMPLES = settings().max_examples if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100
FUZZED = "given/fuzzed"
EXPORTS = ("run.jsonl", "unsigned.jsonl", "run")
"""The exports that a command may be given."""
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["landscape", "sinks", "url", "export", "format", "sign", "path"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=8,
    ).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace")),
    st.tuples(st.sampled_from(["url", "sink", "format", "path"]), st.text(max_size=12)).map(
        lambda change: _changed(*change)
    ),
)


def _changed(key: str, value: str) -> bytes:
    text = yaml.safe_dump(GOOD_SETTINGS)
    lines = [
        f"{line.partition(':')[0]}: {value}" if line.strip().startswith(f"{key}:") else line
        for line in text.splitlines()
    ]
    # Never a path outside of the folder that a call may write to.
    return "\n".join(lines).replace("/..", "").encode("utf-8", "replace")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the calls, with one file of every kind."""
    folder = tmp_path_factory.mktemp("calls")
    given_files = folder / "given"
    for name in ("given", "given/folder", "db", "out"):
        (folder / name).mkdir()
    with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
        record_sample_run(LandscapeRecorder(db))
        exporter = LandscapeExporter(db, KEY)
        exporter.write_jsonl("run-1", given_files / "run.jsonl", sign=True)
        exporter.write_jsonl("run-1", given_files / "unsigned.jsonl")
        exporter.write_csv("run-1", given_files / "run", sign=True)
    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    (given_files / "settings.yaml").write_text(yaml.safe_dump(GOOD_SETTINGS))
    (given_files / "empty").touch()
    (given_files / "noise").write_bytes(bytes(range(256)))
    (given_files / "cut.jsonl").write_bytes((given_files / "run.jsonl").read_bytes()[:-100])
    (given_files / "other.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    (given_files / "link").symlink_to("nowhere")
    for name, content, mode in (
        ("key", KEY, 0o600),
        ("open-key", KEY, 0o644),
        ("short-key", SECRET.encode(), 0o600),
        ("keyring", KEY.hex().encode(), 0o600),
    ):
        (given_files / name).write_bytes(content)
        (given_files / name).chmod(mode)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


DATABASES = (
    *("sqlite:///db/audit.db", "sqlite:///db/audit.db", "sqlite:///db/audit.db"),
    *("sqlite://", "sqlite:///", "sqlite:///given/missing.db", "sqlite:///given/noise"),
    *("sqlite:///given/other.db", "sqlite:///given/folder", "sqlite:///db/a%20b.db", "x", ""),
    *("sqlite:///db/audit.db?mode=ro", "sqlite:///file:db/audit.db?uri=true", "mysql://h/d"),
    *(f"postgresql://u:{SECRET}@127.0.0.1:9/d", f"postgresql://u:{SECRET}@127.0.0.1:x/d"),
    *("sqlite:///db/\udcff.db", "sqlite:///db/%00", "nonsense://", "sqlite:///db/audit.db?x=1"),
)
PATHS = (
    *("given/run.jsonl", "given/unsigned.jsonl", "given/run", "given/cut.jsonl", "given/noise"),
    *("given/empty", "given/folder", "given/link", "given/missing", "given/key", "given/keyring"),
    *("given/open-key", "given/short-key", "given/settings.yaml", "given/other.db", FUZZED, FUZZED),
    *("/dev/null", "/dev/full", "", ".", "/", "given/\udcff", "n" * 300, "given/run.jsonl/below"),
)
POOLS = Pools(
    paths=PATHS,
    outputs=(
        *("out/a.jsonl", "out/b", "out/a.jsonl/", "out/\udcff.jsonl", "out/" + "n" * 300, "out"),
        *("out/no/folder.jsonl", "", ".", "/dev/null", "/dev/full", "out/a\nb", "out/%20.jsonl"),
        *("given/folder/../../out/c.jsonl", "given", "/", "given/missing/a.jsonl"),
    ),
    by_option={
        "--db": DATABASES,
        "--run": ("run-1", "run-1", "latest", "id:latest", "", "\udcff", "x" * 5000, "a\nb"),
        "--settings": ("given/settings.yaml", "given/settings.yaml", FUZZED, *PATHS),
        "--format": ("csv", "jsonl", "CSV", ""),
        "--exporter": ("legacy", "batched", "both"),
        "--key-file": ("given/key", "given/key", *PATHS),
        # More jobs start processes, which tests of their own cover.
        "--jobs": ("1", "1", "0", "-1", "x", "9" * 5000, "99999999999", "1.5"),
        "--timeout": ("60", "0", "-1", "nan", "inf", "1e999", "31536001", "x"),
        "path": PATHS,
    },
    wanted=frozenset({"--db", "--output", "--settings"}),
)
BY_PATH = replace(POOLS, without=frozenset({"--settings"}))
BY_SETTINGS = replace(
    POOLS,
    without=frozenset({"--db", "--output", "--format", "--exporter", "--sign", "--leave-out"}),
)
CALLS = st.one_of(
    *(calls_of(typer.main.get_command(cli.app), pools) for pools in (BY_PATH, BY_SETTINGS, POOLS))
)


@given(
    arguments=CALLS,
    content=CONTENTS,
    has_key=st.booleans(),
)
@example(
    arguments=["attest", "/", "--db", "sqlite:///db/audit.db", "--key-file", "given/key"],
    content=b"",
    has_key=False,
)
@example(
    arguments=["attest", "given/run.jsonl", "--db", "sqlite:///db/audit.db"],
    content=b"",
    has_key=True,
)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
def test_a_call_ends_with_a_documented_code_and_changes_only_its_target(
    folder: Path, arguments: list[str], content: bytes, has_key: bool
) -> None:
    for name in ("db", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    shutil.copy(folder / "audit.db", folder / "db" / "audit.db")
    # What `attest` writes, beside the export that it is given.
    attestations = [folder / "given" / f"{name}{ATTESTATION_SUFFIX}" for name in EXPORTS]
    for path in attestations:
        path.unlink(missing_ok=True)
    (folder / FUZZED).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(KEY_VARIABLE, raising=False)
        if has_key:
            patch.setenv(KEY_VARIABLE, KEY.decode())
        with nothing_else_changes(folder, but=(folder / "db", folder / "out", *attestations)):
            called = call(cli.main, arguments)

    assert_ended_well(called)
    event(ascii(f"{arguments[0] if arguments else ''} {called.code}"))
