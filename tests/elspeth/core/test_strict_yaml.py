"""Strict YAML: plain documents are read, hazards are refused with their position."""

from pathlib import Path

import pytest
import yaml

from elspeth.core.strict_yaml import MAX_BYTES, MAX_DEPTH, StrictYamlError, read_yaml

PLAIN = """\
text: "a: b"
number: 12
share: 0.5
flag: yes
none:
list: [1, two, {three: 3}]
day: 2026-01-01
same: {text: 1, number: 2}
other: {text: 1, number: 2}
1: integer key
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.yaml"


def test_a_plain_document_is_read_as_safe_load_reads_it(path: Path) -> None:
    path.write_text(PLAIN)

    assert read_yaml(path) == yaml.safe_load(PLAIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: key 'a' is given twice"),
        ("a: {b: {c: 1, c: 1}}", "line 1, column 15: key 'c' is given twice"),
        ("- {1: a, 0x1: b}", "line 1, column 10: key 1 is given twice"),
        ("a: &x 1", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: &x [1]\nb: *x", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: *x", "line 1, column 4: anchors and aliases are not allowed"),
        ("<<: {a: 1}", "line 1, column 1: could not determine a constructor"),
        ("a: !!python/object/apply:os.getcwd []", "line 1, column 4: tags are not allowed"),
        ("a: !!bool perhaps", "line 1, column 4: tags are not allowed"),
        ("? [a]\n: 1", "line 1, column 3: found unhashable key"),
        ("a: [1", "line 1, column 6: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "line 2, column 1: but found another document"),
        ("a: 2026-13-01", "month must be in 1..12"),
        ("a: " + "9" * 4001, "line 1, column 4: a number of more than 4,000 characters"),
        ("a: 1" + ":1" * 2000, "line 1, column 4: a number of more than 4,000 characters"),
        ("a: 1." + "9" * 4000, "line 1, column 4: a number of more than 4,000 characters"),
        ("a: 1" + ":1" * 2000 + ".5", "line 1, column 4: a number of more than 4,000 characters"),
        ("? 0x" + "f" * 3998 + "\n: 1", "Exceeds the limit"),
        ("a: " + "1:" * 200 + "1.0", "int too large to convert to float"),
        # CPython 3.13 has another word for it.
        ('a: "\\UFFFFFFFF"', ""),
        ("a: \x07", "special characters are not allowed"),
        ("[" * 2000, f"line 1, column {MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels deep"),
    ],
    ids=lambda text: text[:30],
)
def test_misleading_or_growing_content_is_refused_on_one_line(
    path: Path, text: str, message: str
) -> None:
    path.write_text(text)

    with pytest.raises(StrictYamlError) as refused:
        read_yaml(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_document_may_be_nested_up_to_the_limit(path: Path) -> None:
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)

    assert isinstance(read_yaml(path), list)


def test_bytes_that_are_not_text_are_refused(path: Path) -> None:
    path.write_bytes(b"a: \xff\xfe")

    with pytest.raises(StrictYamlError, match=r"some\.yaml: .*invalid start byte"):
        read_yaml(path)


def test_only_a_file_within_the_size_limit_is_parsed(path: Path) -> None:
    alias = b"*a"
    path.write_bytes(alias.ljust(MAX_BYTES))
    with pytest.raises(StrictYamlError, match="aliases are not allowed"):
        read_yaml(path)

    path.write_bytes(alias.ljust(MAX_BYTES + 1))
    with pytest.raises(StrictYamlError, match=f"larger than the {MAX_BYTES} bytes allowed"):
        read_yaml(path)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StrictYamlError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(StrictYamlError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(StrictYamlError, match="cannot be read: embedded null byte"):
        read_yaml("settings\0.yaml")
