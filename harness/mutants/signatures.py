"""Signature operators: keys, HMAC, canonical JSON, running hash, manifest and clock."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeAlias

from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.export.encoding import encode_record
from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record
from elspeth.core.landscape.export.signed_lines import MANIFEST, RunningHash
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant

Records: TypeAlias = Iterator[Record]
Change: TypeAlias = Callable[[ExporterClass], ExporterClass]
Sign: TypeAlias = Callable[[bytes, Record], str]
"""Returns the signature of a record under a key."""


def signature_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all signature operators over one design."""
    for part, (description, key_change) in _KEYS.items():
        yield Mutant("change-key", design.name, part, description, _with_key(key_change))
    for part, (description, sign) in _SIGNATURES.items():
        yield Mutant("change-signature", design.name, part, description, _with_sign(sign))
    for kind in RECORD_TYPES:
        # The last field of a record is the last that an exporter would add to a list of its own.
        for field in (kind.fields[0], kind.fields[-1]):
            yield Mutant(
                "sign-without-field",
                design.name,
                f"{kind.table.name}/{field}",
                f"the signature of a {kind.name} does not cover {field}",
                _with_sign(partial(_without_field, kind.name, field)),
            )
        yield Mutant(
            "leave-unsigned",
            design.name,
            kind.table.name,
            f"the records of {kind.table.name} get no signature",
            _signed(partial(_no_signature, kind.name)),
        )
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
            _with_manifest(partial(_without, field)),
        )
    for part, (description, records_change) in _RECORDS.items():
        yield Mutant("change-signed-records", design.name, part, description, records_change)
    for part, (description, clock_change) in _CLOCKS.items():
        yield Mutant("change-clock", design.name, part, description, _with_clock(clock_change))


def _with_options(base: ExporterClass, options: Callable[..., tuple[bytes | None, Clock]]) -> Any:
    """Return a subclass that changes its key or its clock, with the parameters of the original."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def __init__(
            self, db: Any, signing_key: bytes | None = None, *, clock: Clock = utc_now
        ) -> None:
            key, clock = options(signing_key, clock)
            super().__init__(db, key, clock=clock)

    return Faulty


def _with_key(change: Callable[[bytes], bytes]) -> Change:
    return lambda base: _with_options(
        base, lambda key, clock: (None if key is None else change(key), clock)
    )


def _with_clock(change: Callable[[Clock], Clock]) -> Change:
    return lambda base: _with_options(base, lambda key, clock: (key, change(clock)))


_KEYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "strip": ("blanks at the ends of the key are removed", bytes.strip),
    "lstrip": ("blanks at the start of the key are removed", bytes.lstrip),
    "rstrip": ("blanks at the end of the key are removed", bytes.rstrip),
    "newline": ("a newline at the end of the key is removed", lambda key: key.removesuffix(b"\n")),
    "cut-32": ("the key is cut after 32 bytes", lambda key: key[:32]),
    "cut-64": ("the key is cut after 64 bytes", lambda key: key[:64]),
    "cut-128": ("the key is cut after 128 bytes", lambda key: key[:128]),
    "cut-255": ("the key is cut after 255 bytes", lambda key: key[:255]),
    "cut-1024": ("the key is cut after 1,024 bytes", lambda key: key[:1024]),
    "nul": ("the key ends at a NUL", lambda key: key.split(b"\0")[0]),
    "lower": ("the key is lowered", bytes.lower),
    "hash": ("the key is hashed first", lambda key: hashlib.sha256(key).digest()),
    "hash-from-64": (
        "a key of exactly 64 bytes is hashed",
        lambda key: hashlib.sha256(key).digest() if len(key) == 64 else key,
    ),
    "hexadecimal": ("the digits of the key are the key", lambda key: key.hex().encode()),
    "latin": ("the key is read as Latin-1", lambda key: key.decode("latin-1").encode()),
    "ascii": ("bytes above 127 are lost", lambda key: key.decode("ascii", "ignore").encode()),
    "replacement": (
        "bytes that are not UTF-8 are replaced",
        lambda key: key.decode("utf-8", "replace").encode(),
    ),
    "escape": (
        "escapes in the key are read",
        lambda key: (
            key.decode("utf-8", "surrogateescape")
            .encode("utf-8", "surrogateescape")
            .replace(b"\\n", b"\n")
        ),
    ),
    "repr": ("the text of the bytes object is the key", lambda key: str(key).encode()),
}


def _with_sign(sign: Sign) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def _sign_record(self, record: Record) -> str:
                if self._signing_key is None:
                    return str(super()._sign_record(record))
                return sign(self._signing_key, record)

        return Faulty

    return apply


def _hmac(key: bytes, message: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(key, message, algorithm).hexdigest()


def _json(record: Record, **options: Any) -> bytes:
    settings = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, **options}
    return json.dumps(record, **settings).encode("utf-8", "surrogatepass")


def _without(field: str, record: Record) -> Record:
    return {name: value for name, value in record.items() if name != field}


def _without_field(kind: str, field: str, key: bytes, record: Record) -> str:
    covered = _without(field, record) if record["record_type"] == kind else record
    return _hmac(key, encode_record(covered))


def _signs_bytes(encode: Callable[[Record], bytes]) -> Sign:
    return lambda key, record: _hmac(key, encode(record))


_SIGNATURES: dict[str, tuple[str, Sign]] = {
    "sha512": ("HMAC-SHA512", lambda key, r: _hmac(key, encode_record(r), "sha512")),
    "sha1": ("HMAC-SHA1", lambda key, r: _hmac(key, encode_record(r), "sha1")),
    "sha3": ("HMAC with SHA3-256", lambda key, r: _hmac(key, encode_record(r), "sha3_256")),
    "blake2": ("HMAC with BLAKE2s", lambda key, r: _hmac(key, encode_record(r), "blake2s")),
    "plain-hash": (
        "a hash over key and record",
        lambda key, r: hashlib.sha256(key + encode_record(r)).hexdigest(),
    ),
    "no-key": ("a hash over the record", lambda _, r: hashlib.sha256(encode_record(r)).hexdigest()),
    "upper": ("digits are upper case", lambda key, r: _hmac(key, encode_record(r)).upper()),
    "cut": ("half of the digits", lambda key, r: _hmac(key, encode_record(r))[:32]),
    "base64": (
        "Base64 instead of hexadecimal digits",
        lambda key, r: base64.b64encode(bytes.fromhex(_hmac(key, encode_record(r)))).decode(),
    ),
    "swapped": (
        "key and record change places",
        lambda key, r: _hmac(encode_record(r), key),
    ),
    "key-order": ("keys are not sorted", _signs_bytes(partial(_json, sort_keys=False))),
    "separators": (
        "blanks after separators",
        _signs_bytes(partial(_json, separators=(", ", ": "))),
    ),
    "ascii": ("text is escaped to ASCII", _signs_bytes(partial(_json, ensure_ascii=True))),
    "floats": ("floats as Python writes them", _signs_bytes(_json)),
    "newline": ("the newline is signed too", _signs_bytes(lambda r: encode_record(r) + b"\n")),
    "utf16": (
        "text is encoded as UTF-16",
        _signs_bytes(lambda r: encode_record(r).decode().encode("utf-16-le")),
    ),
    "strings": (
        "numbers are signed as text",
        _signs_bytes(
            lambda r: encode_record({k: None if v is None else str(v) for k, v in r.items()})
        ),
    ),
    "without-nulls": (
        "null fields are left out",
        _signs_bytes(lambda r: encode_record({k: v for k, v in r.items() if v is not None})),
    ),
    "without-type": (
        "the record type is not covered",
        _signs_bytes(lambda r: encode_record(_without("record_type", r))),
    ),
    "without-run": (
        "the run id is not covered",
        _signs_bytes(lambda r: encode_record(_without("run_id", r))),
    ),
    "values": (
        "the values are signed, without their names",
        _signs_bytes(lambda r: "|".join(map(str, r.values())).encode("utf-8", "replace")),
    ),
    "empty-signature": (
        "the record is signed with an empty signature in it",
        _signs_bytes(lambda r: encode_record({**r, "signature": ""})),
    ),
    "null-signature": (
        "the record is signed with a null signature in it",
        _signs_bytes(lambda r: encode_record({**r, "signature": None})),
    ),
}


def _signed(change: Callable[[Records], Records]) -> Change:
    """Change the records of signed exports after they are signed."""

    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_run(self, run_id: str, sign: bool = False) -> Records:
                records = super().export_run(run_id, sign)
                yield from change(records) if sign else records

        return Faulty

    return apply


def _no_signature(kind: str, records: Records) -> Records:
    for record in records:
        yield _without("signature", record) if record["record_type"] == kind else record


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
                        manifest = {**_without("signature", record), "final_hash": running.end()}
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
        _new_hash(lambda r: encode_record(_without("signature", r))),
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
                        manifest = change(_without("signature", record))
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
        lambda m: {**_without("record_type", m), "record_type": m["record_type"]},
    ),
}


def _manifest_first(records: Records) -> Records:
    held = list(records)
    yield from (*held[-1:], *held[:-1])


def _without_manifest(records: Records) -> Records:
    return (record for record in records if record["record_type"] != MANIFEST)


def _manifest_unsigned(records: Records) -> Records:
    for record in records:
        yield _without("signature", record) if record["record_type"] == MANIFEST else record


def _manifest_twice(records: Records) -> Records:
    for record in records:
        yield record
        if record["record_type"] == MANIFEST:
            yield dict(record)


def _signature_first(records: Records) -> Records:
    for record in records:
        yield {"signature": record["signature"], **_without("signature", record)}


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
    "no-manifest": ("the manifest is lost", _signed(_without_manifest)),
    "manifest-first": ("the manifest comes first", _signed(_manifest_first)),
    "manifest-unsigned": ("the manifest has no signature", _signed(_manifest_unsigned)),
    "manifest-twice": ("the manifest comes twice", _signed(_manifest_twice)),
    "signature-first": ("the signature is the first key", _signed(_signature_first)),
    "always": ("an unsigned export is signed", partial(_always_signs, manifest=True)),
    "always-without-manifest": (
        "the records of an unsigned export have signatures",
        partial(_always_signs, manifest=False),
    ),
    "manifest-when-unsigned": ("an unsigned export has a manifest", _manifest_when_unsigned),
    "null-when-unsigned": ("records of an unsigned export have null signatures", _null_signature),
}


class _Time(datetime):
    """A time with another text."""

    _text: Callable[[datetime], str]

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return type(self)._text(datetime.fromisoformat(super().isoformat(sep, timespec)))


def _written(text: Callable[[datetime], str]) -> Callable[[Clock], Clock]:
    """Write the time of a clock in another way."""

    class Time(_Time):
        _text = staticmethod(text)

    def apply(clock: Clock) -> Clock:
        return lambda: Time.fromisoformat(clock().isoformat())

    return apply


def _twice(clock: Clock) -> Clock:
    def second() -> datetime:
        clock()
        return clock()

    return second


def _kept(clock: Clock) -> Clock:
    times: list[datetime] = []

    def first() -> datetime:
        if not times:
            times.append(clock())
        return times[0]

    return first


def _moved(change: Callable[[datetime], datetime]) -> Callable[[Clock], Clock]:
    def apply(clock: Clock) -> Clock:
        return lambda: change(clock())

    return apply


_CLOCKS: dict[str, tuple[str, Callable[[Clock], Clock]]] = {
    "naive": ("the offset is lost", _moved(lambda time: time.replace(tzinfo=None))),
    "local": ("the time is that of the local zone", _moved(datetime.astimezone)),
    "other-offset": (
        "the time has another offset",
        _moved(lambda time: time.astimezone(timezone(timedelta(hours=2)))),
    ),
    "seconds": ("microseconds are cut", _moved(lambda time: time.replace(microsecond=0))),
    "milliseconds": (
        "milliseconds remain",
        _moved(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)),
    ),
    "microseconds-always": (
        "a whole second has six zeros",
        _written(lambda time: time.isoformat(timespec="microseconds")),
    ),
    "milliseconds-always": (
        "the time has three digits after its seconds",
        _written(lambda time: time.isoformat(timespec="milliseconds")),
    ),
    "trailing-zeros": (
        "zeros at the end of the fraction are removed",
        _written(
            lambda time: (
                time.replace(tzinfo=None).isoformat().rstrip("0").rstrip(".") + "+00:00"
                if time.microsecond
                else time.isoformat()
            )
        ),
    ),
    "z": (
        "the offset is written as Z",
        _written(lambda time: time.isoformat().replace("+00:00", "Z")),
    ),
    "blank": ("a blank separates date and time", _written(lambda time: time.isoformat(" "))),
    "now": ("the clock is not read", lambda _: lambda: datetime.now(UTC)),
    "twice": ("the clock is read twice", _twice),
    "kept": ("a later export has the time of the first", _kept),
    "rounded": (
        "the time is rounded to a second",
        _moved(lambda time: (time + timedelta(microseconds=500_000)).replace(microsecond=0)),
    ),
    "day": ("the time of day is lost", _moved(lambda time: time.replace(hour=0, minute=0))),
}
