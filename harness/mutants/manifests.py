"""Manifest operators: the running hash, the manifest, and what a signed export holds."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from elspeth.core.clock import utc_now
from elspeth.core.landscape.export.encoding import encode_record
from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.export.signed_lines import MANIFEST, RunningHash
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant
from harness.mutants.signatures import Change, Records, change_signed, without


def manifest_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all manifest operators over one design."""
    for part, (description, running_hash) in _RUNNING_HASHES.items():
        yield Mutant("change-running-hash", design.name, part, description, _hashed(running_hash))
    for part, (description, manifest_change) in _MANIFESTS.items():
        yield Mutant(
            "change-manifest", design.name, part, description, _with_manifest(manifest_change)
        )
    for field in _MANIFEST_FIELDS:
        yield Mutant(
            "drop-manifest-field",
            design.name,
            field,
            f"the manifest lacks {field}",
            _with_manifest(partial(without, field)),
        )
    for part, (description, records_change) in _RECORDS.items():
        yield Mutant("change-signed-records", design.name, part, description, records_change)


def _hashed(new_hash: Callable[[], Any]) -> Change:
    """Compute the running hash of the manifest in another way."""

    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_run(self, run_id: str, sign: bool = False) -> Records:
                running = new_hash()
                for record in super().export_run(run_id, sign):
                    if record["record_type"] != MANIFEST:
                        running.add(record)
                        yield record
                    else:
                        manifest = {**without("signature", record), "final_hash": running.end()}
                        yield {**manifest, "signature": self._sign_record(manifest)}

        return Faulty

    return apply


class _Hash:
    """A hash over one text for every record.

    Args:
        part: Returns the bytes of a record to hash.
        keep: Which of the parts are hashed, at the end.
        separator: Bytes between parts.
    """

    def __init__(
        self,
        part: Callable[[Record], bytes],
        keep: Callable[[list[bytes]], list[bytes]] = list,
        separator: bytes = b"",
        algorithm: str = "sha256",
    ) -> None:
        self._part, self._keep = part, keep
        self._separator, self._algorithm = separator, algorithm
        self._parts: list[bytes] = []

    def add(self, record: Record) -> None:
        # The signature is missing in unsigned exports, which have no manifest either.
        if "signature" in record:
            self._parts.append(self._part(record))

    def end(self) -> str:
        return hashlib.new(
            self._algorithm, self._separator.join(self._keep(self._parts))
        ).hexdigest()


def _signature(record: Record) -> bytes:
    return str(record["signature"]).encode()


def _new_hash(part: Callable[[Record], bytes] = _signature, **options: Any) -> Callable[[], _Hash]:
    return partial(_Hash, part, **options)


_RUNNING_HASHES: dict[str, tuple[str, Callable[[], Any]]] = {
    "records": (
        "the hash covers records without signatures",
        _new_hash(lambda r: encode_record(without("signature", r))),
    ),
    "signed-records": ("the hash covers signed records", _new_hash(encode_record)),
    "digests": (
        "the hash covers the bytes of signatures",
        _new_hash(lambda r: bytes.fromhex(r["signature"])),
    ),
    "newlines": ("newlines separate the signatures", _new_hash(separator=b"\n")),
    "without-first": ("the first signature is not covered", _new_hash(keep=lambda p: p[1:])),
    "without-last": ("the last signature is not covered", _new_hash(keep=lambda p: p[:-1])),
    "last-only": ("only the last signature is covered", _new_hash(keep=lambda p: p[-1:])),
    "reversed": ("signatures are covered in the opposite order", _new_hash(keep=lambda p: p[::-1])),
    "sorted": ("signatures are sorted before", _new_hash(keep=sorted)),
    "cut": ("half of every signature is covered", _new_hash(lambda r: _signature(r)[:32])),
    "upper": ("signatures are covered in upper case", _new_hash(lambda r: _signature(r).upper())),
    "sha512": ("the hash is SHA-512", _new_hash(algorithm="sha512")),
    "first-1000": ("1,000 signatures are covered", _new_hash(keep=lambda p: p[:1000])),
    "first-20000": ("20,000 signatures are covered", _new_hash(keep=lambda p: p[:20_000])),
}


def _with_manifest(change: Callable[[Record], Record]) -> Change:
    """Change the manifest before it is signed."""

    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_run(self, run_id: str, sign: bool = False) -> Records:
                for record in super().export_run(run_id, sign):
                    if record["record_type"] == MANIFEST:
                        manifest = change(without("signature", record))
                        record = {**manifest, "signature": self._sign_record(manifest)}
                    yield record

        return Faulty

    return apply


_MANIFEST_FIELDS = tuple(RunningHash().manifest("", utc_now))

_MANIFESTS: dict[str, tuple[str, Callable[[Record], Record]]] = {
    "count-with-manifest": (
        "the count includes the manifest",
        lambda m: {**m, "record_count": m["record_count"] + 1},
    ),
    "count-less-one": (
        "the count lacks a record",
        lambda m: {**m, "record_count": m["record_count"] - 1},
    ),
    "count-as-text": (
        "the count is text",
        lambda m: {**m, "record_count": str(m["record_count"])},
    ),
    "count-as-float": (
        "the count is a float",
        lambda m: {**m, "record_count": float(m["record_count"])},
    ),
    "count-at-most-20000": (
        "the count ends at 20,000",
        lambda m: {**m, "record_count": min(m["record_count"], 20_000)},
    ),
    "algorithm-names": ("the hash has another name", lambda m: {**m, "hash_algorithm": "SHA-256"}),
    "signature-algorithm": (
        "the signature has another name",
        lambda m: {**m, "signature_algorithm": "HMAC-SHA256"},
    ),
    "hash-upper": (
        "the hash is upper case",
        lambda m: {**m, "final_hash": m["final_hash"].upper()},
    ),
    "no-hash": ("the hash is null", lambda m: {**m, "final_hash": None}),
    "additional-field": ("a field is added", lambda m: {**m, "version": 1}),
    "key-order": ("keys are sorted", lambda m: dict(sorted(m.items()))),
    "type-last": (
        "the record type is the last key",
        lambda m: {**without("record_type", m), "record_type": m["record_type"]},
    ),
}


def _manifest_first(records: Records) -> Records:
    held = list(records)
    yield from (*held[-1:], *held[:-1])


def _without_manifest(records: Records) -> Records:
    return (record for record in records if record["record_type"] != MANIFEST)


def _manifest_unsigned(records: Records) -> Records:
    for record in records:
        yield without("signature", record) if record["record_type"] == MANIFEST else record


def _manifest_twice(records: Records) -> Records:
    for record in records:
        yield record
        if record["record_type"] == MANIFEST:
            yield dict(record)


def _signature_first(records: Records) -> Records:
    for record in records:
        yield {"signature": record["signature"], **without("signature", record)}


def _always_signs(base: ExporterClass, *, manifest: bool) -> ExporterClass:
    """Sign unsigned exports as well, where there is a key."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            asked = sign or self._signer is not None
            for record in super().export_run(run_id, asked):
                if sign or manifest or record["record_type"] != MANIFEST:
                    yield record

    return Faulty


def _manifest_when_unsigned(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            count = 0
            for record in super().export_run(run_id, sign):
                count += 1
                yield record
            if not sign:
                yield {"record_type": MANIFEST, "run_id": run_id, "record_count": count}

    return Faulty


def _null_signature(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            for record in super().export_run(run_id, sign):
                yield record if sign else {**record, "signature": None}

    return Faulty


_RECORDS: dict[str, tuple[str, Change]] = {
    "no-manifest": ("the manifest is lost", change_signed(_without_manifest)),
    "manifest-first": ("the manifest comes first", change_signed(_manifest_first)),
    "manifest-unsigned": ("the manifest has no signature", change_signed(_manifest_unsigned)),
    "manifest-twice": ("the manifest comes twice", change_signed(_manifest_twice)),
    "signature-first": ("the signature is the first key", change_signed(_signature_first)),
    "always": ("an unsigned export is signed", partial(_always_signs, manifest=True)),
    "always-without-manifest": (
        "the records of an unsigned export have signatures",
        partial(_always_signs, manifest=False),
    ),
    "manifest-when-unsigned": ("an unsigned export has a manifest", _manifest_when_unsigned),
    "null-when-unsigned": ("records of an unsigned export have null signatures", _null_signature),
}
