"""docs/record-format.md: its verifier agrees with ours, about its example and about tampering."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_run import KEY
from signed_exports import export_lines

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
