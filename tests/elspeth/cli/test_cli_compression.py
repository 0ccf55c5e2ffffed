"""`--compress` and `--output -`: what is written, what a reader gets, and what a fault leaves."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from command_line import Command, recorded
from sample_run import KEY

from elspeth.core import compression
from elspeth.core.compression import Compression, compressing, decompressed
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.verification.verify import Reason, verify

MAIN = (sys.executable, "-c", "from elspeth.cli.main import main; main()")
KINDS = list(Compression)


def needs(kind: Compression) -> None:
    try:
        compression.require(kind)
    except compression.CompressionUnavailableError as error:
        pytest.skip(str(error))


def uncompressed(path: Path) -> bytes:
    with path.open("rb") as file, decompressed(file) as content:
        return content.read()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a sample run."""
    path = tmp_path_factory.mktemp("template") / "audit.db"
    recorded(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite(template: Path, tmp_path: Path) -> str:
    """The URL of a copy of the database."""
    return f"sqlite:///{shutil.copy(template, tmp_path / 'audit.db')}"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Compression:
    needs(request.param)
    return Compression(request.param)


@pytest.fixture
def exported(landscape: Command, sqlite: str, folder: Path, kind: Compression) -> Path:
    """A signed and attested export, with a name that does not tell its compression."""
    target = folder / "run.jsonl"
    done = landscape(
        *("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign", "--attest"),
        *("--compress", kind.value),
    )
    assert (done.code, done.err) == (0, "")
    content = uncompressed(target)
    assert f"compressed with {kind.value}," in done.out
    assert f"sha256 {hashlib.sha256(content).hexdigest()} of the uncompressed" in done.out
    return target


def test_a_compressed_export_and_its_attestation_verify_by_content(
    landscape: Command, exported: Path
) -> None:
    done = landscape("verify", exported, "--attestation")
    assert (done.code, done.out.splitlines()[-1]) == (0, "51/51 valid")


def test_the_attestation_is_of_the_uncompressed_bytes(landscape: Command, exported: Path) -> None:
    content = uncompressed(exported)
    for other in (content, gzip.compress(content, 1)):
        exported.write_bytes(other)
        assert landscape("verify", exported, "--attestation").code == 0
    exported.write_bytes(gzip.compress(content[:-1]))
    changed = landscape("verify", exported, "--attestation")
    assert changed.code == 1
    assert "FOREIGN_EXPORT" in changed.out


@pytest.mark.parametrize("exporter", ["batched", "legacy"])
def test_the_content_is_that_of_the_uncompressed_export(
    landscape: Command, sqlite: str, folder: Path, kind: Compression, exporter: str
) -> None:
    shared = ("export", "--db", sqlite, "--run", "run-1", "--exporter", exporter)
    landscape(*shared, "--output", folder / "plain")
    for name in ("first", "second"):
        done = landscape(*shared, "--output", folder / name, "--compress", kind.value)
        assert done.code == 0
    assert uncompressed(folder / "first") == (folder / "plain").read_bytes()
    # Neither a time nor a name is in it.
    assert (folder / "first").read_bytes() == (folder / "second").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "trailing", "flipped", "only the magic"])
def test_damaged_data_is_one_defect_and_no_record_counts_twice(
    landscape: Command, exported: Path, damage: str
) -> None:
    content = exported.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:-4],
        "trailing": content + b"junk",
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "only the magic": content[:4],
    }
    exported.write_bytes(damaged[damage])
    found = verify(exported, KEY)
    assert not found.ok
    reasons = [defect.reason for defect in found.defects]
    assert reasons.count(Reason.CORRUPT_COMPRESSION) == 1
    assert Reason.TRUNCATED not in reasons
    assert Reason.EMPTY not in reasons
    done = landscape("verify", exported)
    assert (done.code, done.err) == (1, "")


def test_a_damaged_export_is_not_replaced_and_a_whole_one_is(
    landscape: Command, sqlite: str, exported: Path, kind: Compression
) -> None:
    again = ("export", "--db", sqlite, "--run", "run-1", "--output", exported)
    assert landscape(*again).code == 0
    assert landscape(*again, "--compress", kind.value).code == 0
    exported.write_bytes(gzip.compress(b"something else"))
    refused = landscape(*again)
    assert refused.code == 2
    assert "is not an export" in refused.err


@pytest.mark.parametrize("at", ["fsync", "rename", "write"])
def test_a_fault_leaves_the_previous_export(
    landscape: Command,
    sqlite: str,
    folder: Path,
    kind: Compression,
    at: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = folder / "run.jsonl"
    arguments = ("export", "--db", sqlite, "--run", "run-1", "--output", target)
    landscape(*arguments)
    before = target.read_bytes()

    def fail(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    if at == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif at == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        write = compression._Output.write

        def write_to_full(output: compression._Output, content: bytes) -> int:
            return write(output, content) if output.is_abandoned else fail()

        monkeypatch.setattr(compression._Output, "write", write_to_full)
    failed = landscape(*arguments, "--compress", kind.value)
    assert failed.code == 3
    assert failed.err.count("\n") == 1
    assert "No space left on device" in failed.err
    assert target.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["run.jsonl"]


def test_without_the_package_zstd_is_one_line_that_says_what_to_install(
    landscape: Command, sqlite: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compression", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    (folder / "made.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    export = ("export", "--db", sqlite, "--run", "run-1", "--output")
    for arguments in (
        (*export, folder / "run.zst", "--compress", "zstd"),
        (*export, "-", "--compress", "zstd"),
        ("export", "--db", sqlite, "--all", "--output", folder / "all", "--compress", "zstd"),
        ("verify", folder / "made.zst"),
        ("show", folder / "made.zst"),
    ):
        ended = landscape(*arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert ended.err.count("\n") == 1
        assert "pip install ./src/querygrowth '.[zstd]'" in ended.err
    assert [path.name for path in folder.iterdir()] == ["made.zst"]


def test_an_error_leaves_compressed_data_without_its_end(tmp_path: Path, kind: Compression) -> None:
    path = tmp_path / "cut"

    def write() -> None:
        with path.open("wb") as file, compressing(file, kind) as output:
            output.write(b"a whole line\n" * 100_000)
            raise KeyError

    with pytest.raises(KeyError):
        write()
    with pytest.raises(compression.DamagedCompressionError):
        uncompressed(path)


class TestStream:
    @pytest.mark.parametrize("exporter", ["batched", "legacy"])
    def test_standard_output_gets_the_bytes_of_a_file(
        self, landscape: Command, sqlite: str, folder: Path, exporter: str
    ) -> None:
        shared = ("export", "--db", sqlite, "--run", "latest", "--exporter", exporter)
        landscape(*shared, "--output", folder / "run.jsonl")
        streamed = landscape(*shared, "--output", "-")
        assert streamed.code == 0
        assert streamed.out == (folder / "run.jsonl").read_text()
        # The result is told where it is not mixed into the export.
        assert streamed.err.startswith("run-1: 50 records, ")

    def test_a_file_may_be_called_like_standard_output(
        self, landscape: Command, sqlite: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        done = landscape("export", "--db", sqlite, "--run", "run-1", "--output", "./-")
        assert done.out.startswith("run-1: 50 records, ")
        assert (folder / "-").read_text().startswith("{")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--attest",), "--attest"),
            (("--json",), "--json"),
            (("--format", "csv"), "--format csv"),
            (("--spreadsheet-safe",), "--spreadsheet-safe"),
        ],
    )
    def test_what_needs_a_path_is_refused(
        self, landscape: Command, sqlite: str, options: tuple[str, ...], named: str
    ) -> None:
        ended = landscape("export", "--db", sqlite, "--run", "run-1", "--output", "-", *options)
        assert (ended.code, ended.out) == (2, "")
        assert named in ended.err

    def test_settings_do_not_go_with_standard_output(
        self, landscape: Command, tmp_path: Path
    ) -> None:
        settings = tmp_path / "settings.yaml"
        settings.write_text("landscape: {}")
        for given in (("--output", "-"), ("--compress", "gzip")):
            ended = landscape("export", "--run", "run-1", "--settings", settings, *given)
            assert (ended.code, ended.out) == (2, "")
            assert given[0] in ended.err

    # Compressed, the last bytes come when the compressor ends.
    @pytest.mark.parametrize(
        ("reader", "compress"), [("full", ("--compress", "gzip")), ("closed", ())]
    )
    def test_a_reader_that_is_full_or_gone_is_exit_3(
        self, sqlite: str, compress: tuple[str, ...], reader: str
    ) -> None:
        if reader == "full":
            if not Path("/dev/full").exists():
                pytest.skip("there is no /dev/full here")
            output = os.open("/dev/full", os.O_WRONLY)
        else:
            reading, output = os.pipe()
            os.close(reading)
        arguments = ("export", "--db", sqlite, "--run", "run-1", "--output", "-", *compress)
        ended = subprocess.run(
            [*MAIN, *arguments], stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(output)
        full = "error: standard output: No space left on device\n"
        assert (ended.returncode, ended.stderr) == (3, full if reader == "full" else "")

    def test_an_export_passes_through_a_pipe_to_the_verifier(self, sqlite: str) -> None:
        environment = {**os.environ, KEY_VARIABLE: KEY.decode(), "ELSPETH_LANDSCAPE__URL": sqlite}
        export = ("export", "--run", "latest", "--output", "-", "--sign", "--compress", "gzip")
        with subprocess.Popen(
            [*MAIN, *export, "--quiet"], stdout=subprocess.PIPE, env=environment
        ) as exporting:
            verified = subprocess.run(
                [*MAIN, "verify", "-"],
                stdin=exporting.stdout,
                capture_output=True,
                text=True,
                env=environment,
                check=False,
            )
        assert (exporting.returncode, verified.returncode) == (0, 0)
        assert verified.stdout == "51/51 valid\n"


def test_a_bomb_is_read_line_by_line(tmp_path: Path, traced: Callable[[], int]) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with path.open("wb") as file, compressing(file, Compression.GZIP) as output:
        for _ in range(64):
            output.write(b" " * 2**20)
    found = verify(path, KEY, max_line_bytes=2**16)
    assert [defect.reason for defect in found.defects] == [Reason.TOO_LONG]
    assert traced() < 2**21


@pytest.fixture
def traced() -> Callable[[], int]:
    """A function that returns the most bytes held since the test began."""
    import tracemalloc

    tracemalloc.start()

    def most() -> int:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    return most


def test_the_variable_names_the_database(
    landscape: Command, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert landscape("runs").code == 2
    monkeypatch.setenv("ELSPETH_LANDSCAPE__URL", recorded(sqlite_url))
    assert landscape("runs").out == landscape("runs", "--db", sqlite_url).out
    # An option takes precedence, also a wrong one.
    assert landscape("runs", "--db", "").code == 2
