"""docs/record-format.md: its verifier agrees with ours, about its example and about tampering."""

import csv
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from sample_run import KEY, Record, record_sample_run
from signed_exports import export_lines

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.export.completeness import LEFT_OUT_BY_DESIGN
from elspeth.core.landscape.schema import metadata
from elspeth.core.landscape.verification.record_shapes import SHAPES
from elspeth.core.landscape.verification.verify import verify

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "record-format.md").read_text(encoding="utf-8")
Verify = Callable[[str, bytes], bool]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def of_page() -> Verify:
    """The verifier of the page."""
    names: dict[str, Verify] = {}
    exec(compile(block("python"), "record-format.md", "exec"), names)
    return names["verify"]


def test_the_example_verifies_with_both(of_page: Verify, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(block("jsonl"), encoding="utf-8")
    assert of_page(str(path), KEY)
    assert verify(path, KEY).ok
    assert not of_page(str(path), KEY[:-1] + b"x")


def test_the_verifier_has_twenty_lines_of_the_standard_library() -> None:
    code = block("python").split("\n\n\n")
    assert len(code[1].splitlines()) <= 20
    assert re.findall(r"^import (\w+)$", code[0], re.MULTILINE) == ["hashlib", "hmac", "json", "re"]


def test_it_accepts_every_record_type_and_rejects_every_change(
    of_page: Verify, tmp_path: Path
) -> None:
    lines = export_lines(tmp_path)
    path = tmp_path / "changed.jsonl"

    def accepts(changed: list[bytes]) -> bool:
        path.write_bytes(b"".join(changed))
        return of_page(str(path), KEY)

    assert accepts(lines)
    for at, line in enumerate(lines):
        middle = len(line) // 2
        flipped = line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :]
        for changed in ([flipped], [], [line, line], [line[:-1]]):
            assert not accepts([*lines[:at], *changed, *lines[at + 1 :]]), at
    assert not accepts([lines[1], lines[0], *lines[2:]])


def test_the_exported_and_the_left_out_columns_are_all_that_is_stored() -> None:
    exported = {f"{shape.table_name}.{name}" for shape in SHAPES.values() for name in shape.fields}
    for table in metadata.tables.values():
        for column in table.columns:
            names = {f"{table.name}.{column.name}", table.name}
            # The run of a child is that of its export.
            assert names & {*LEFT_OUT_BY_DESIGN, *exported} or column.name == "run_id", names


def test_the_signatures_of_csv_files_follow_from_the_page(tmp_path: Path) -> None:
    """Types and nulls come from the tables of the page, and the order from its other table."""
    with LandscapeDB.in_memory() as db:
        record_sample_run(LandscapeRecorder(db))
        LandscapeExporter(db, KEY).write_csv("run-1", tmp_path / "csv", sign=True)
    sections = re.findall(r"^### (\w+)(.*?)(?=^###|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    fields = {
        name: {
            field: (kind, bool(null))
            for field, kind, null in re.findall(r"^\| `(\w+)` \| (\w+) \| (yes)?", text, re.M)
        }
        for name, text in sections
    }
    records: dict[str, list[Record]] = {}
    for path in (tmp_path / "csv").iterdir():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        records[path.stem] = [signed_record(row, fields[path.stem]) for row in rows]
    assert records.keys() == fields.keys()
    order = re.findall(r"^\| (\w+) \| (\w+|the export) \| `(\w+)` \|", PAGE, re.MULTILINE)
    keys = {name: SHAPES[name].primary_key[-1] for name, _, _ in order}

    def signatures(parent: str, parent_id: object) -> Iterator[str]:
        for name, inside, by in order:
            for record in records[name] if inside == parent else ():
                if parent == "the export" or record[by] == parent_id:
                    yield str(record["signature"])
                    yield from signatures(name, record[keys[name]])

    found = list(signatures("the export", None))
    (manifest,) = records["manifest"]
    assert manifest["record_count"] == len(found) > 40
    assert manifest["final_hash"] == hashlib.sha256("".join(found).encode()).hexdigest()


def signed_record(row: dict[str, str], fields: dict[str, tuple[str, bool]]) -> Record:
    """The record of a row of CSV whose signature fits."""
    signature = row.pop("signature")
    choices: list[list[tuple[str, Any]]] = []
    for name, text in row.items():
        kind, is_nullable = fields[name]
        if kind in ("integer", "number"):
            choices.append([(name, json.loads(text) if text else None)])
        elif text or not is_nullable:
            choices.append([(name, text)])
        else:
            choices.append([(name, None), (name, "")])
    fitting = [
        dict(record)
        for record in product(*choices)
        if hmac.digest(KEY, rfc8785.dumps(dict(record)), "sha256").hex() == signature
    ]
    assert len(fitting) == 1, row
    return fitting[0] | {"signature": signature}
