"""Call operators: a call goes wrong because of the call before it, or of the form that it has.

State is kept between calls, iterators share state, and arguments are lost.
"""

import inspect
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record
from elspeth.core.landscape.export.signed_lines import MANIFEST, Block, RunningHash
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant

Records: TypeAlias = Iterator[Record]
Change: TypeAlias = Callable[[ExporterClass], ExporterClass]


def call_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all call operators over one design."""
    for operator, parts in _OPERATORS.items():
        for part, (description, change) in parts.items():
            yield Mutant(operator, design.name, part, description, change)
    if design.name == "batched":
        for part, (description, change) in _JOBS.items():
            yield Mutant("break-jobs", design.name, part, description, change)


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

    return _with_signature(Faulty, base)


def _first_key(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        _first: bytes | None = None

        def __init__(self, db: Any, signing_key: bytes | None = None, **options: Any) -> None:
            Faulty._first = Faulty._first or signing_key
            super().__init__(db, signing_key and Faulty._first, **options)

    return _with_signature(Faulty, base)


def _with_signature(faulty: ExporterClass, base: ExporterClass) -> ExporterClass:
    """Show the parameters of the original: the harness sets a clock only if it finds one there."""
    faulty.__signature__ = inspect.signature(base)  # type: ignore[attr-defined]
    return faulty


def _with_run_id(change: Callable[[str], str]) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def _iter_records(self, run_id: str) -> Records:
                yield from super()._iter_records(change(run_id))

        return Faulty

    return apply


def _with_sign(change: Callable[[tuple[Any, ...], dict[str, Any]], bool]) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_run(self, run_id: str, *arguments: Any, **options: Any) -> Records:
                yield from super().export_run(run_id, change(arguments, options))

        return Faulty

    return apply


def _unsigned_without_key(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            yield from super().export_run(run_id, sign and self._signer is not None)

    return Faulty


def _empty_key(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def __init__(self, db: Any, signing_key: bytes | None = None, **options: Any) -> None:
            super().__init__(db, signing_key or b"", **options)

    return _with_signature(Faulty, base)


def _run_before_key(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            if sign and self._signer is None:
                yield next(super().export_run(run_id))
            yield from super().export_run(run_id, sign)

    return Faulty


def _unknown_run_is_empty(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            try:
                yield from super()._iter_records(run_id)
            except RunNotFoundError:
                return

    return Faulty


def _unknown_run_is_key_error(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            try:
                yield from super()._iter_records(run_id)
            except RunNotFoundError as error:
                raise KeyError(run_id) from error

    return Faulty


Grouped: TypeAlias = dict[str, list[Record]]


def _with_grouped(change: Callable[[Grouped], Grouped]) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_run_grouped(self, run_id: str, sign: bool = False) -> Grouped:
                return change(super().export_run_grouped(run_id, sign))

        return Faulty

    return apply


def _grouped_unsigned(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run_grouped(self, run_id: str, sign: bool = False) -> Grouped:
            return cast("Grouped", super().export_run_grouped(run_id))

    return Faulty


def _grouped_accumulates(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run_grouped(self, run_id: str, sign: bool = False) -> Grouped:
            kept: Grouped = self.__dict__.setdefault("_grouped", {})
            for name, records in super().export_run_grouped(run_id, sign).items():
                kept.setdefault(name, []).extend(records)
            return kept

    return Faulty


def _by_value(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: str(list(record.values())))


def _with_blocks(change: Callable[[list[Block]], list[Block]]) -> Change:
    """Change the blocks of an export that workers share."""

    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def export_blocks(
                self, run_id: str, sign: bool = False, *, jobs: int = 1, **options: Any
            ) -> Iterator[Block]:
                blocks = super().export_blocks(run_id, sign, jobs=jobs, **options)
                yield from blocks if jobs == 1 else change(list(blocks))

        return Faulty

    return apply


def _first_block_twice(blocks: list[Block]) -> list[Block]:
    return [*blocks[:1], *blocks]


def _without_last_line(blocks: list[Block]) -> list[Block]:
    last = blocks[-1]
    lines = last.lines.splitlines(keepends=True)[:-1]
    return [*blocks[:-1], Block(b"".join(lines), len(lines))]


def _jobs_unsigned(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_blocks(
            self, run_id: str, sign: bool = False, *, jobs: int = 1, **options: Any
        ) -> Iterator[Block]:
            yield from super().export_blocks(run_id, sign and jobs == 1, jobs=jobs, **options)

    return Faulty


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
    "change-run-id": {
        "strip": ("blanks at the ends of the run id are removed", _with_run_id(str.strip)),
        "rstrip": ("blanks at the end of the run id are removed", _with_run_id(str.rstrip)),
        "lower": ("the run id is lowered", _with_run_id(str.lower)),
        "upper": ("the run id is raised", _with_run_id(str.upper)),
        "nfc": (
            "the run id is normalised to NFC",
            _with_run_id(lambda run_id: unicodedata.normalize("NFC", run_id)),
        ),
        "nfkd": (
            "the run id is normalised to NFKD",
            _with_run_id(lambda run_id: unicodedata.normalize("NFKD", run_id)),
        ),
        "nul": ("the run id ends at a NUL", _with_run_id(lambda run_id: run_id.split("\0")[0])),
        "unquoted": ("quotes are removed", _with_run_id(lambda run_id: run_id.replace("'", ""))),
    },
    "ignore-argument": {
        "sign-by-keyword": (
            "sign is ignored as a keyword",
            _with_sign(lambda arguments, _: bool(arguments and arguments[0])),
        ),
        "sign-by-position": (
            "sign is ignored by position",
            _with_sign(lambda _, options: bool(options.get("sign"))),
        ),
        "no-sign": (
            "without an argument the export is signed",
            _with_sign(lambda arguments, options: (*arguments, *options.values(), True)[0]),
        ),
    },
    "break-refusal": {
        "unsigned-without-key": ("without a key the export is unsigned", _unsigned_without_key),
        "empty-key": ("without a key an empty key signs", _empty_key),
        "run-before-key": ("a missing key is found after the first record", _run_before_key),
        "unknown-run": ("an unknown run is exported as empty", _unknown_run_is_empty),
        "key-error": ("an unknown run raises KeyError", _unknown_run_is_key_error),
    },
    "break-grouped": {
        "last-record": (
            "the last record of every type is lost",
            _with_grouped(lambda grouped: {name: each[:-1] for name, each in grouped.items()}),
        ),
        "order": (
            "records are sorted by their values",
            _with_grouped(
                lambda grouped: {name: _by_value(each) for name, each in grouped.items()}
            ),
        ),
        "order-of-types": (
            "types are sorted by name",
            _with_grouped(lambda grouped: dict(sorted(grouped.items()))),
        ),
        "manifest": (
            "the manifest is lost",
            _with_grouped(lambda grouped: {k: v for k, v in grouped.items() if k != MANIFEST}),
        ),
        "empty-types": (
            "types without records have an empty list",
            _with_grouped(lambda grouped: {**{k.name: [] for k in RECORD_TYPES}, **grouped}),
        ),
        "sign": ("sign is ignored", _grouped_unsigned),
        "state": ("records of earlier calls stay", _grouped_accumulates),
    },
}
"""By operator and part: the description of the change, and the change."""

_JOBS: dict[str, tuple[str, Change]] = {
    "block-lost": ("the first block is lost", _with_blocks(lambda blocks: blocks[1:])),
    "block-twice": ("the first block comes twice", _with_blocks(_first_block_twice)),
    "order": (
        "blocks come in the opposite order",
        _with_blocks(lambda blocks: blocks[::-1]),
    ),
    "last-line": ("the last record is lost", _with_blocks(_without_last_line)),
    "sign": ("several jobs write an unsigned file", _jobs_unsigned),
}
