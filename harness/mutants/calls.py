"""Call operators: a call goes wrong because of the call before it or beside it.

State is kept between calls, iterators share state, and records are reused.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.export.signed_lines import RunningHash
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant

Records: TypeAlias = Iterator[Record]
Change: TypeAlias = Callable[[ExporterClass], ExporterClass]


def call_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of calls one after the other over one design."""
    for operator, parts in _OPERATORS.items():
        for part, (description, change) in parts.items():
            yield Mutant(operator, design.name, part, description, change)


def _keeps_records(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            if not hasattr(self, "_kept"):
                self._kept = list(super().export_run(run_id, sign))
            yield from self._kept

    return Faulty


def _keeps_unsigned_records(base: ExporterClass) -> ExporterClass:
    """Keep the records of a run, which a signed export then puts its signatures into."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            kept = self.__dict__.setdefault("_kept", {})
            if run_id not in kept:
                kept[run_id] = list(super()._iter_records(run_id))
            yield from kept[run_id]

    return Faulty


def _keeps_run(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            self.__dict__.setdefault("_first_run", run_id)
            yield from super().export_run(self._first_run, sign)

    return Faulty


def _keeps_run_in_records(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            self.__dict__.setdefault("_first_run", run_id)
            for record in super()._iter_records(run_id):
                yield {**record, "run_id": self._first_run}

    return Faulty


def _keeps_sign(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            self.__dict__.setdefault("_first_sign", sign)
            yield from super().export_run(run_id, self._first_sign)

    return Faulty


def _stays_signed(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            self._has_signed = sign or getattr(self, "_has_signed", False)
            yield from super().export_run(run_id, self._has_signed)

    return Faulty


def _keeps_iterator(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            if not hasattr(self, "_iterator"):
                self._iterator = super().export_run(run_id, sign)
            return cast("Records", self._iterator)

    return Faulty


def _keeps_abandoned_iterator(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            unfinished = self.__dict__.setdefault("_unfinished", {})
            records = unfinished.setdefault((run_id, sign), super().export_run(run_id, sign))
            # Its generator is not closed with the one around it.
            for record in records:  # noqa: UP028
                yield record
            del unfinished[run_id, sign]

    return Faulty


def _keeps_hash(base: ExporterClass) -> ExporterClass:
    return _with_own_signing(base, lambda self: self.__dict__.setdefault("_hash", RunningHash()))


def _shares_hash(base: ExporterClass) -> ExporterClass:
    def new_hash(self: Any) -> RunningHash:
        self._hash = RunningHash()
        return RunningHash()

    return _with_own_signing(base, new_hash, shared=True)


def _with_own_signing(
    base: ExporterClass, new_hash: Callable[[Any], RunningHash], *, shared: bool = False
) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            self._check_key(sign)
            records = self._iter_records(run_id)
            yield from self._hashed(records, run_id) if sign else records

        def _hashed(self, records: Records, run_id: str) -> Records:
            running = new_hash(self)
            for record in records:
                record["signature"] = self._sign_record(record)
                # With a shared hash, an export that began later has replaced the one of this one.
                (self._hash if shared else running).add(record["signature"])
                yield record
            manifest = (self._hash if shared else running).manifest(run_id, self._clock)
            manifest["signature"] = self._sign_record(manifest)
            yield manifest

    return Faulty


def _shares_run(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            self._current = run_id
            for record in super()._iter_records(run_id):
                yield {**record, "run_id": self._current}

    return Faulty


def _shares_records(base: ExporterClass) -> ExporterClass:
    """Read from the iterator that was opened last."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            self._source = super()._iter_records(run_id)
            while (record := next(self._source, None)) is not None:
                yield record

    return Faulty


def _one_dict(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            only: Record = {}
            for record in super().export_run(run_id, sign):
                only.clear()
                only.update(record)
                yield only

    return Faulty


def _late_signature(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            for record in super().export_run(run_id, sign):
                signature = record.pop("signature", None)
                yield record
                if signature is not None:
                    record["signature"] = signature

    return Faulty


def _changed_after_yield(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            for record in super().export_run(run_id, sign):
                yield record
                record.clear()

    return Faulty


def _skips_after_error(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            records = super()._iter_records(run_id)
            try:
                if self.__dict__.pop("_has_failed", False):
                    yield next(records)
                    next(records)
                yield from records
            except Exception:
                self._has_failed = True
                raise

    return Faulty


def _repeats_error(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        _error: Exception | None = None

        def _iter_records(self, run_id: str) -> Records:
            if self._error is not None:
                raise self._error
            try:
                yield from super()._iter_records(run_id)
            except Exception as error:
                self._error = error
                raise

    return Faulty


def _nothing_after_error(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            if getattr(self, "_has_failed", False):
                return
            try:
                yield from super().export_run(run_id, sign)
            except Exception:
                self._has_failed = True
                raise

    return Faulty


def _first_database(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        _first: Any = None

        def __init__(self, db: Any, *arguments: Any, **options: Any) -> None:
            Faulty._first = Faulty._first or db
            super().__init__(Faulty._first, *arguments, **options)

    return showing_parameters(Faulty, base)


def _first_key(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        _first: bytes | None = None

        def __init__(self, db: Any, signing_key: bytes | None = None, **options: Any) -> None:
            Faulty._first = Faulty._first or signing_key
            super().__init__(db, signing_key and Faulty._first, **options)

    return showing_parameters(Faulty, base)


def showing_parameters(faulty: ExporterClass, base: ExporterClass) -> ExporterClass:
    """Show the parameters of the original: the harness sets a clock only if it finds one there."""
    faulty.__signature__ = inspect.signature(base)  # type: ignore[attr-defined]
    return faulty


_OPERATORS: dict[str, dict[str, tuple[str, Change]]] = {
    "keep-between-calls": {
        "records": ("a later call yields the records of the first", _keeps_records),
        "unsigned-records": ("signatures stay in the records of a run", _keeps_unsigned_records),
        "run": ("a later call exports the run of the first", _keeps_run),
        "run-id": ("the records of a later call name the run of the first", _keeps_run_in_records),
        "sign": ("a later call signs as the first did", _keeps_sign),
        "signed": ("after a signed export every export is signed", _stays_signed),
        "iterator": ("a later call returns the iterator of the first", _keeps_iterator),
        "abandoned-iterator": (
            "a call goes on where an abandoned export stopped",
            _keeps_abandoned_iterator,
        ),
        "running-hash": ("the running hash goes on from the call before", _keeps_hash),
        "database": ("a second object reads the database of the first", _first_database),
        "key": ("a second object signs with the key of the first", _first_key),
    },
    "share-between-iterators": {
        "running-hash": ("the running hash is that of the newest iterator", _shares_hash),
        "run-id": ("records name the run of the newest iterator", _shares_run),
        "records": ("records come from the newest iterator", _shares_records),
    },
    "reuse-records": {
        "one-dict": ("one dict is yielded again and again", _one_dict),
        "late-signature": ("a record gets its signature after it was yielded", _late_signature),
        "cleared": ("a record is emptied after it was yielded", _changed_after_yield),
    },
    "break-after-error": {
        "second-record": ("the export after an error lacks a record", _skips_after_error),
        "same-error": ("an error is raised again by every later call", _repeats_error),
        "nothing": ("every export after an error is empty", _nothing_after_error),
    },
}
"""By operator and part: the description of the change, and the change."""
