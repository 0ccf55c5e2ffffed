"""Operators of call forms: an argument is lost, or one form of the call goes wrong.

The forms are run ids, sign, refusals, grouped records and several jobs.
"""

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record
from elspeth.core.landscape.export.signed_lines import MANIFEST, Block
from harness.mutants.calls import Change, Records, showing_parameters
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant


def call_form_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of the forms of a call over one design."""
    for operator, parts in _OPERATORS.items():
        for part, (description, change) in parts.items():
            yield Mutant(operator, design.name, part, description, change)
    # The other design refuses several jobs.
    if design.name == "batched":
        for part, (description, change) in _JOBS.items():
            yield Mutant("break-jobs", design.name, part, description, change)


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

    return showing_parameters(Faulty, base)


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
