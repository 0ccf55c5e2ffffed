"""A wrong encoder or signer in the exporter is caught by `landscape verify`.

The faults are put into the exporter's functions, and the exporter then writes a whole signed
export with them. If the verifier used one of these functions, it would share the fault and pass.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from sample_run import KEY, fixed_clock

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.export import encoding, signed_lines

Replace = Callable[[pytest.MonkeyPatch], None]
sign_well = signed_lines.Signer.sign


def keep_fractions(patch: pytest.MonkeyPatch) -> None:
    """Write 5.0 as `5.0`, as json and orjson do."""
    patch.setattr(encoding, "_same_spelling", lambda value: value)


def keep_insertion_order(patch: pytest.MonkeyPatch) -> None:
    """Leave the keys in the order of the record type."""
    patch.setattr(encoding, "sorted", list, raising=False)


def escape_to_ascii(patch: pytest.MonkeyPatch) -> None:
    """Escape text as json.dumps does by default."""

    def encode(column: Sequence[Any]) -> list[bytes]:
        return [json.dumps(value).encode() for value in column]

    patch.setattr(encoding, "_encode_column", encode)


def put_signature_last(patch: pytest.MonkeyPatch) -> None:
    """Append the signature behind the last key."""
    well_placed = signed_lines.record_encoder

    def record_encoder(*arguments: Any) -> Callable[[Any], Iterable[tuple[bytes, bytes]]]:
        encode = well_placed(*arguments)
        return lambda rows: [((head + tail)[:-1], b"}") for head, tail in encode(rows)]

    patch.setattr(signed_lines, "record_encoder", record_encoder)


def sign_with(patch: pytest.MonkeyPatch, sign: Callable[[Any, bytes], str]) -> None:
    """Replace both ways of signing, that of a record and that of a block."""

    def sign_all(signer: Any, messages: Iterable[bytes]) -> list[bytes]:
        return [sign(signer, message).encode() for message in messages]

    patch.setattr(signed_lines.Signer, "sign", sign)
    patch.setattr(signed_lines.Signer, "sign_all", sign_all)


def sign_the_line(patch: pytest.MonkeyPatch) -> None:
    """Sign the newline too."""
    sign_with(patch, lambda signer, message: sign_well(signer, message + b"\n"))


def sign_the_head(patch: pytest.MonkeyPatch) -> None:
    """Sign the first hundred bytes alone."""
    sign_with(patch, lambda signer, message: sign_well(signer, message[:100]))


def sign_without_key(patch: pytest.MonkeyPatch) -> None:
    """Hash instead of sign."""
    sign_with(patch, lambda _, message: hashlib.sha256(message).hexdigest())


def sign_in_upper_case(patch: pytest.MonkeyPatch) -> None:
    """Write the right digits in the wrong case."""
    sign_with(patch, lambda signer, message: sign_well(signer, message).upper())


def swap_pads(patch: pytest.MonkeyPatch) -> None:
    """Take HMAC's outer pad for the inner one, and the other way round."""
    inner, outer = signed_lines._INNER_PAD, signed_lines._OUTER_PAD
    patch.setattr(signed_lines, "_INNER_PAD", outer)
    patch.setattr(signed_lines, "_OUTER_PAD", inner)


def hash_nothing(patch: pytest.MonkeyPatch) -> None:
    """Count the signatures, and leave them out of the manifest's hash."""

    def add(running: signed_lines.RunningHash, signature: str) -> None:
        running.record_count += 1

    def add_all(running: signed_lines.RunningHash, signatures: bytes) -> None:
        running.record_count += len(signatures) // signed_lines.SIGNATURE_BYTES

    patch.setattr(signed_lines.RunningHash, "add", add)
    patch.setattr(signed_lines.RunningHash, "add_all", add_all)


@dataclass(frozen=True)
class Fault:
    """A fault of the exporter, the word of the verifier for it, and the formats that show it."""

    replace: Replace
    reason: str
    methods: tuple[str, ...] = ("write_jsonl", "write_csv")


FAULTS = (
    Fault(keep_fractions, "NOT_CANONICAL", ("write_jsonl",)),
    Fault(keep_fractions, "BAD_SIGNATURE", ("write_csv",)),
    Fault(keep_insertion_order, "NOT_CANONICAL", ("write_jsonl",)),
    Fault(escape_to_ascii, "NOT_CANONICAL", ("write_jsonl",)),
    Fault(put_signature_last, "NOT_CANONICAL", ("write_jsonl",)),
    Fault(sign_the_line, "BAD_SIGNATURE"),
    Fault(sign_the_head, "BAD_SIGNATURE"),
    Fault(sign_without_key, "BAD_SIGNATURE"),
    Fault(sign_in_upper_case, "BAD_SIGNATURE"),
    Fault(swap_pads, "BAD_SIGNATURE"),
    Fault(hash_nothing, "HASH"),
)
CASES = [
    pytest.param(fault, method, id=f"{fault.replace.__name__}-{method}")
    for fault in FAULTS
    for method in fault.methods
]


def write(url: str, method: str, path: Path) -> bytes:
    """Export the sample run signed; return all bytes written."""
    with LandscapeDB(url) as db:
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
        getattr(exporter, method)("run-1", path, sign=True)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("method", ["write_jsonl", "write_csv"])
def test_a_right_export_passes(
    landscape: Command, sqlite: str, tmp_path: Path, method: str
) -> None:
    write(sqlite, method, tmp_path / "export")
    assert landscape("verify", tmp_path / "export").code == 0


@pytest.mark.parametrize(("fault", "method"), CASES)
def test_a_fault_of_the_exporter_is_caught(
    landscape: Command,
    sqlite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    method: str,
) -> None:
    right = write(sqlite, method, tmp_path / "right")
    fault.replace(monkeypatch)
    wrong = write(sqlite, method, tmp_path / "wrong")
    assert wrong != right, "the fault does not show: the test would prove nothing"
    # Verified while the fault is in place: a verifier that used the function would not see it.
    ended = landscape("verify", tmp_path / "wrong")
    assert ended.code == 1
    assert fault.reason in ended.out + ended.err
