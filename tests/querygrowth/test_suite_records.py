"""`--queries-record` keeps each test's statements beside it, and fails when they change."""

import json
from pathlib import Path

import pytest
from suite_project import write_project
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again
from querygrowth.suite.records import (
    RecordError,
    difference,
    lines_of_record,
    read_records,
    stale_records,
    write_records,
)

pytest_plugins = ["pytester"]

PROJECT = """
    import faults, pytest

    @pytest.mark.parametrize("key", [1, 2])
    def test_find(session, key): faults.find(session, key)
    class TestOrders:
        def test_all(self, session):
            faults.all_orders(session)
            faults.find(session, 1)
    def test_fails(session):
        faults.find(session, 1)
        assert 0
    def test_without_queries(): pass
"""
FIND = "1x SELECT customers.name FROM customers WHERE customers.id = ?"
NAMES = ["TestOrders::test_all", "test_find[1]", "test_find[2]"]


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def recorded(pytester: pytest.Pytester) -> dict[str, list[str]]:
    return read_records(pytester.path / "test_some.queries.json")


def test_records_are_written_once_and_then_compared(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(pytester, test_some=PROJECT)
    result = pytester.runpytest(*OPTIONS, "--queries-record")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["wrote 3 records to *test_some.queries.json"])
    assert sorted(recorded(pytester)) == NAMES
    assert recorded(pytester)["test_find[1]"] == [FIND]
    # An unchanged suite passes, and the order of statements does not matter.
    module = pytester.path / "test_some.py"
    swapped = module.read_text().replace(
        "        faults.all_orders(session)\n        faults.find(session, 1)\n",
        "        faults.find(session, 1)\n        faults.all_orders(session)\n",
    )
    assert swapped != module.read_text()
    module.write_text(swapped)
    monkeypatch.setenv("CI", "true")
    result = pytester.runpytest(*OPTIONS, "--queries-record")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.no_fnmatch_line("*= queries =*")
    # A change fails with the lines that differ.
    faults = pytester.path / "faults.py"
    faults.write_text(faults.read_text().replace("== key)", "== key, Customer.name != '')"))
    result = pytester.runpytest(*OPTIONS, "--queries-record", "-k", "all or find")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "its statements differ from the record in test_some.queries.json:",
            f"- {FIND}",
            f"+ {FIND} AND customers.name *",
            "  1 other statement unchanged",
            "accept: pytest --queries-record=write 'test_some.py::TestOrders::test_all'",
        ]
    )
    result = pytester.runpytest(*OPTIONS, "--queries-record=write", "-k", "1 or all")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["wrote 2 records to *"])
    assert recorded(pytester)["test_find[1]"] != recorded(pytester)["test_find[2]"] == [FIND]


def test_a_missing_record_fails_in_ci_only_and_a_stale_one_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(pytester, test_some=PROJECT)
    path = pytester.path / "test_some.queries.json"
    write_records(path, {"test_find[1]": [FIND], "test_renamed": [FIND]})
    write_records(pytester.path / "test_gone.queries.json", {"test_gone": [FIND]})
    monkeypatch.setenv("CI", "1")
    result = pytester.runpytest(*OPTIONS, "--queries-record")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "there is no record of its statements in test_some.queries.json; write it with: *",
            "*test_gone.queries.json has records of tests that are gone: test_gone; *",
            "*test_some.queries.json has records of tests that are gone: test_renamed; *",
        ]
    )
    assert sorted(recorded(pytester)) == ["test_find[1]", "test_renamed"]
    # A part of a file says nothing about the other tests of the file.
    result = pytester.runpytest(*OPTIONS, "--queries-record=write", "test_some.py::test_find")
    result.assert_outcomes(passed=2)
    assert sorted(recorded(pytester)) == ["test_find[1]", "test_find[2]", "test_renamed"]
    pytester.runpytest(*OPTIONS, "--queries-record=write").assert_outcomes(passed=4, failed=1)
    assert sorted(recorded(pytester)) == NAMES
    assert not (pytester.path / "test_gone.queries.json").exists()


def test_a_broken_record_fails_its_tests_in_one_line(pytester: pytest.Pytester) -> None:
    write_project(pytester, test_some=PROJECT)
    (pytester.path / "test_some.queries.json").write_text("{")
    result = pytester.runpytest(*OPTIONS, "--queries-record", "-k", "find")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["cannot read the records *: *; write them again with: pytest *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    pytester.runpytest(*OPTIONS, "--queries-record=write", "-k", "find").assert_outcomes(passed=2)
    assert sorted(recorded(pytester)) == NAMES[1:]


def test_findings_and_records_are_asked_for_together(pytester: pytest.Pytester) -> None:
    write_project(
        pytester, test_some="import faults\ndef test_one(session): faults.lookups(session)"
    )
    write_records(pytester.path / "test_some.queries.json", {"test_one": ["1x SELECT 1"]})
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-level=error", "--queries-record")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "repeated-statement: *, 3 in one call",
            "its statements differ from the record *",
            "- 1x SELECT 1",
            "+ 3x SELECT customers.name FROM *",
        ]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "TypeError"),
        ('{"version": 1, "tests": {"test": 3}}', "TypeError"),
        ('{"version": 2, "tests": {}}', "have version 2, and this querygrowth reads 1"),
        ("\udcff", "UnicodeDecodeError"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "test_some.queries.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecordError, match=message):
        read_records(path)


def test_the_difference_shows_counts_beside_each_other() -> None:
    before = lines_of_record(["b", "a", "a", "c"])
    assert before == ["1x b", "2x a", "1x c"]
    assert difference(before, before[::-1]) == []
    assert difference(before, ["3x a", "1x c", "1x d"]) == [
        "- 2x a",
        "+ 3x a",
        "- 1x b",
        "+ 1x d",
        "  1 other statement unchanged",
    ]
    assert difference([], ["1x a"]) == ["+ 1x a"]


def test_records_are_readable_text_in_a_stable_order(tmp_path: Path) -> None:
    path = tmp_path / "test_some.queries.json"
    write_records(path, {"test_ü": ["1x SELECT 'ü'"], "test_a": []})
    text = path.read_text(encoding="utf-8")
    assert text.index("test_a") < text.index("test_ü")
    assert json.loads(text) == {"version": 1, "tests": {"test_a": [], "test_ü": ["1x SELECT 'ü'"]}}
    (tmp_path / "test_some.py").touch()
    assert stale_records({tmp_path / "test_some.py": {"test_a"}}) == {path: {"test_ü"}}
    write_records(path, {})
    assert not path.exists()
