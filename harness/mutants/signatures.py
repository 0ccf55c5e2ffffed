"""Signature operators: keys, HMAC, canonical JSON and the clock."""

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
            change_signed(partial(_no_signature, kind.name)),
        )
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


def without(field: str, record: Record) -> Record:
    """Return a record without a field."""
    return {name: value for name, value in record.items() if name != field}


def _without_field(kind: str, field: str, key: bytes, record: Record) -> str:
    covered = without(field, record) if record["record_type"] == kind else record
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
        _signs_bytes(lambda r: encode_record(without("record_type", r))),
    ),
    "without-run": (
        "the run id is not covered",
        _signs_bytes(lambda r: encode_record(without("run_id", r))),
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


def change_signed(change: Callable[[Records], Records]) -> Change:
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
        yield without("signature", record) if record["record_type"] == kind else record


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
