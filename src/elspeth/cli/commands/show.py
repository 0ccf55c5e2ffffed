"""`landscape show`: prints the records of an export."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elspeth.cli.options import Json, MaxLineBytes, Timeout
from elspeth.cli.runtime import ExitCode, stop_on_signals

if TYPE_CHECKING:
    from elspeth.core.landscape.verification.defects import ParsedLine, Record

EXAMPLES = (
    "landscape show run.jsonl",
    "landscape show run.jsonl --type call --json",
    "landscape show run.jsonl.zst --type token --id token-17",
)


class RecordTypeName(StrEnum):
    """A type of records."""

    RUN = "run"
    NODE = "node"
    EDGE = "edge"
    ROW = "row"
    TOKEN = "token"  # noqa: S105 - a type of records
    TOKEN_PARENT = "token_parent"  # noqa: S105 - a type of records
    NODE_STATE = "node_state"
    ROUTING_EVENT = "routing_event"
    CALL = "call"
    BATCH = "batch"
    BATCH_MEMBER = "batch_member"
    ARTIFACT = "artifact"
    MANIFEST = "manifest"


def show(
    path: Annotated[
        Path,
        typer.Argument(help="A JSON Lines file, compressed or not, or a directory of CSV files."),
    ],
    type_: Annotated[
        RecordTypeName | None, typer.Option("--type", help="Only records of this type.")
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Only records with this id in their primary key."),
    ] = None,
    max_line_bytes: MaxLineBytes = None,
    timeout: Timeout = None,
    json: Json = False,
) -> int:
    """Print the records of an export, without verifying them.

    Exit 1 if there are none.

    A record is printed as its type, and below it a line for every field that is not null. A line
    that cannot be read is named, and ends the command with exit code 1 too.
    """
    from elspeth.cli.console import print_lines
    from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES
    from elspeth.core.landscape.verification.read import read_records

    chosen = _Chosen(type_, id_)
    source = Path("/dev/stdin") if str(path) == "-" else path
    # A pipe may have no writer.
    with stop_on_signals(timeout_seconds=timeout):
        lines = read_records(source, max_line_bytes or MAX_LINE_BYTES)
        if json:
            return _print_json(chosen, lines)
        print_lines(chosen.lines(lines))
    return chosen.end()


class _Chosen:
    """The records that were asked for, and what was found of them."""

    def __init__(self, type_: RecordTypeName | None, id_: str | None) -> None:
        self._type = type_
        self._id = id_
        self.count = 0
        self.defects: list[tuple[str, str, str, int]] = []

    def records(self, lines: "Iterator[ParsedLine]") -> "Iterator[Record]":
        """Yield the chosen records, with their signatures, and note what cannot be read."""
        from elspeth.core.landscape.verification.record_shapes import SHAPES

        for line in lines:
            if line.record_type is None:
                self._note(line)
                continue
            keys = SHAPES[line.record_type].primary_key or ("run_id",)
            if self._type is not None and line.record_type != self._type.value:
                continue
            if self._id is not None and self._id not in [line.record[name] for name in keys]:
                continue
            self.count += 1
            signature = {} if line.signature is None else {"signature": line.signature}
            yield {**line.record, **signature}

    def lines(self, lines: "Iterator[ParsedLine]") -> Iterator[str]:
        """Yield the lines that show the chosen records."""
        for record in self.records(lines):
            yield f"{record['record_type']}"
            for name, value in record.items():
                if name not in ("record_type", "signature") and value is not None:
                    yield f"  {name}: {value}"

    def end(self) -> ExitCode:
        """Print what could not be read or found to standard error, and return the exit code."""
        from elspeth.cli.console import print_notes

        print_notes(f"{place}: {reason}: {message}" for reason, message, place, _ in self.defects)
        if not self.count and not self.defects:
            print_notes((self._nothing(),))
        return ExitCode.FAILED if self.defects or not self.count else ExitCode.PASSED

    def _note(self, line: "ParsedLine") -> None:
        place = ", ".join(filter(None, (line.file, f"{line.unit} {line.number}")))
        # Of a file that is not an export, the first lines say enough.
        if len(self.defects) < _MOST_DEFECTS:
            self.defects += [
                (defect.reason.value, defect.message, place, line.number) for defect in line.defects
            ]

    def _nothing(self) -> str:
        of_type = "" if self._type is None else f" of type {self._type.value}"
        with_id = "" if self._id is None else f" with the id {self._id!r}"
        return f"no records{of_type}{with_id}; without --type and --id all are shown"


_MOST_DEFECTS = 20


def _print_json(chosen: _Chosen, lines: "Iterator[ParsedLine]") -> ExitCode:
    """Print the document of ShowReport record by record: an export may be larger than memory."""
    import sys

    from elspeth.cli.console import json_text

    write = sys.stdout.write
    records = chosen.records(lines)
    # Read first: what cannot be opened prints no document.
    first = [each for each in (next(records, None),) if each is not None]
    write('{"format": "landscape/1", "command": "show", "records": [')
    separator = ""
    for record in chain(first, records):
        write(f"{separator}{json_text(record)}")
        separator = ", "
    code = chosen.end()
    defects = [
        {"reason": reason, "message": message, "file": place, "line": number}
        for reason, message, place, number in chosen.defects
    ]
    end = {
        "defects": defects,
        "outcome": "passed" if code is ExitCode.PASSED else "failed",
        "exit_code": int(code),
    }
    write(f"], {json_text(end)[1:]}\n")
    return code
