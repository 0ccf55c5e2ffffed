"""Tests of error descriptions: one line, without SQL statements and parameters."""

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from elspeth.core.error_text import describe_failure, one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "run.jsonl"), "run.jsonl: No space left on device"),
        (OSError(5, "Input/output error", b"run.jsonl"), "run.jsonl: Input/output error"),
        (OSError(21, "Is a directory", 12), "Is a directory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (
            OperationalError("SELECT secret", {"x": 1}, sqlite3.OperationalError("is\n locked")),
            "database: is locked",
        ),
        (MemoryError(), "out of memory"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_failure_is_described_in_one_line(error: BaseException, said: str) -> None:
    assert describe_failure(error) == said


def test_control_characters_are_escaped_and_other_text_is_kept() -> None:
    assert one_line("a\nb\x1b[31m\u2028\ud800 \u00e9 \\n") == (
        "a\\nb\\x1b[31m\\u2028\\ud800 \u00e9 \\n"
    )
    assert one_line(one_line("a\n\x1b")) == one_line("a\n\x1b")
