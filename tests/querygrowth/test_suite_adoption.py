"""Settings, baseline, ignores, and the files that the suite report writes."""

import json
import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from suite_project import write_project
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again
from querygrowth.suite.accepted import read_accepted
from querygrowth.suite.rules import RULES, Level
from querygrowth.suite.settings import Ignore, SettingsError, read_settings

pytest_plugins = ["pytester"]

README = Path(__file__).parents[2] / "src" / "querygrowth" / "README.md"


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


SOME = """
    import faults
    def test_one(session): faults.lazy_collection(session)
    def test_two(session): faults.lookups(session)
"""


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("levle = 'warn'", "has no setting 'levle'; did you mean 'level'?"),
        ("colour = 'red'", "has no setting 'colour'; known are level, rules, test-code"),
        ("level = 'loud'", "level must be one of off, report, warn, error, got 'loud'"),
        ("level = 3", "level must be one of off, report, warn, error, got 3"),
        ("rules = 'all'", "rules must be a table of rules and levels, got 'all'"),
        ("[tool.querygrowth.rules]\nlazy_load = 'warn'", "'lazy_load'; did you mean 'lazy-load'?"),
        ("[tool.querygrowth.rules]\nlazy-load = true", "rules.lazy-load must be one of"),
        ("[tool.querygrowth.rules]\nlazy-load = {treshold = 3}", "did you mean 'threshold'?"),
        ("[tool.querygrowth.rules]\nlazy-load = {threshold = 1}", "a whole number from 2 on, got"),
        ("[tool.querygrowth.rules]\nlazy-load = {threshold = true}", "from 2 on, got True"),
        (
            "[tool.querygrowth.rules]\nunused-eager-load = 'error'",
            "must be off or report, because only the end of the run can tell, got 'error'",
        ),
        ("baseline = ''", "baseline must be the path of a file, got ''"),
        ("ignore = ['app.py']", "write ignores as [[tool.querygrowth.ignore]] tables"),
        (
            "[[tool.querygrowth.ignore]]\nplace = 'app.py'",
            "ignore 1: reason must be a text, got ''",
        ),
        ("[[tool.querygrowth.ignore]]\nplaces = 'app.py'", "did you mean 'place'?"),
        (
            "[[tool.querygrowth.ignore]]\nplace = 'a'\nreason = 'b'\nexpires = 'soon'",
            "ignore 1: expires must be a date such as 2030-12-31, got 'soon'",
        ),
        (
            "[[tool.querygrowth.ignore]]\nplace = 'a'\nreason = 'b'\nrule = 'lazyload'",
            "did you mean 'lazy-load'?",
        ),
        ("level = ", "is no TOML file"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.querygrowth]\n{toml}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape(message)) as raised:
        read_settings(tmp_path)
    assert "\n" not in str(raised.value)
    assert "pyproject.toml" in str(raised.value)


def test_the_table_must_be_a_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nquerygrowth = 1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="must be a table"):
        read_settings(tmp_path)


def test_defaults_and_levels_of_rules(tmp_path: Path) -> None:
    defaults = read_settings(tmp_path)
    assert {name: str(level) for name, level in defaults.levels.items()} == {
        name: "off" if rule.opt_in else "report" for name, rule in RULES.items()
    }
    (tmp_path / "pyproject.toml").write_text(
        """
        [tool.querygrowth]
        level = "error"
        test-code = "off"
        [tool.querygrowth.rules]
        lazy-load = "warn"
        repeated-statement = {threshold = 5}
        deferred-attribute = "off"
        unindexed-filter = {threshold = 2}
        [[tool.querygrowth.ignore]]
        place = "app.py"
        reason = "old"
        expires = 2030-12-31
        """,
        encoding="utf-8",
    )
    settings = read_settings(tmp_path)
    assert settings.levels["lazy-load"] is Level.WARN
    assert settings.levels["repeated-statement"] is Level.ERROR
    assert settings.levels["unindexed-filter"] is Level.REPORT
    assert settings.thresholds["repeated-statement"] == 5
    assert settings.level("lazy-load", in_test_code=True) is Level.OFF
    assert settings.ignores == (Ignore("app.py", "old", expires=date(2030, 12, 31)),)
    louder = read_settings(tmp_path, "error")
    assert louder.levels["lazy-load"] is Level.ERROR
    assert louder.levels["deferred-attribute"] is Level.OFF


def test_the_readme_shows_the_rules_and_settings_that_exist(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (\d)(?: in one call)? \|$", text, re.MULTILINE)
    assert {(name, int(number), "opt-in" in what) for name, what, number in rows} == {
        (rule.name, rule.threshold, rule.opt_in) for rule in RULES.values()
    }
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    read = read_settings(tmp_path)
    assert read.thresholds["repeated-statement"] == 5
    assert [ignore.about for ignore in read.ignores] == ["Order.items"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--queries",), "*has no setting 'levle'; did you mean 'level'?"),
        (("--queries-json=x.json",), "*--queries-json needs --queries"),
        (("--queries=some",), "*--queries*"),
    ],
)
def test_a_usage_error_has_exit_code_4(
    pytester: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    pytester.makefile(".toml", pyproject="[tool.querygrowth]\nlevle = 'warn'")
    result = pytester.runpytest(*OPTIONS, *options)
    assert result.ret == 4
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


def test_the_settings_are_read_with_an_option_only(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    pytester.makefile(".toml", pyproject="[tool.querygrowth]\nlevle = 'warn'")
    pytester.runpytest(*OPTIONS).assert_outcomes(passed=1)


def test_only_new_findings_count_beside_a_baseline(pytester: pytest.Pytester) -> None:
    write_project(pytester, test_some=SOME)
    result = pytester.runpytest(
        *OPTIONS, "--queries-baseline=write", "--queries-level=error", "test_some.py::test_one"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["wrote 1 finding to *queries-baseline.json"])
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-level=error")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["2 tests watched, 7 queries: 1 finding in 1 place, 1 in the baseline"]
    )
    # The part of the suite that did not run keeps its entries, and lines may move.
    result = pytester.runpytest(*OPTIONS, "--queries-baseline=write", "test_some.py::test_two")
    result.stdout.fnmatch_lines(["wrote 2 findings to *"])
    faults = pytester.path / "faults.py"
    faults.write_text(f"# moved\n\n\n{faults.read_text()}")
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-level=error")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["2 tests watched, 7 queries: 0 findings, 2 in the baseline"])
    # What is repaired leaves the baseline when it is written again.
    faults.write_text(faults.read_text().replace("len(order.items)", "order.id"))
    result = pytester.runpytest(*OPTIONS, "--queries-baseline=write")
    result.stdout.fnmatch_lines(["wrote 1 finding to *"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no baseline *kept.json; write it with: pytest --queries *=write"),
        ("[]", "cannot read the baseline *kept.json: TypeError: *; write it again with: *"),
        ("{", "cannot read the baseline *kept.json: *; write it again with: *"),
        (
            '{"version": 9, "findings": []}',
            "the baseline *kept.json has version 9, and this querygrowth reads 1",
        ),
    ],
)
def test_a_baseline_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: str | None, message: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.querygrowth]\nbaseline = 'kept.json'", encoding="utf-8"
    )
    if content is not None:
        (tmp_path / "kept.json").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        read_accepted(read_settings(tmp_path), today=date(2030, 1, 1), writing=False)
    assert fnmatchcase(str(raised.value), message)
    assert "\n" not in str(raised.value)


def test_ignores_hold_until_their_last_day_and_say_what_they_ignore(
    pytester: pytest.Pytester,
) -> None:
    write_project(pytester, test_some=SOME)
    pytester.makefile(
        ".toml",
        pyproject="""
        [tool.querygrowth]
        level = "error"
        [[tool.querygrowth.ignore]]
        place = "faults.py::lookups"  # the loop, and not the function that sends
        reason = "three at most"
        expires = "2999-12-31"
        [[tool.querygrowth.ignore]]
        place = "fault*.py"
        about = "Order.items"
        rule = "lazy-load"
        reason = "is to go"
        expires = 2001-01-31
        [[tool.querygrowth.ignore]]
        place = "elsewhere.py"
        about = "orders"
        reason = "unknown"
        """,
    )
    result = pytester.runpytest(*OPTIONS, "--queries")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "2 tests watched, 7 queries: 1 finding in 1 place, 1 ignored",
            "lazy-load: Order.items, 3 in one call",
            "expired on 2001-01-31, and ignores nothing any more: fault[*].py (Order.it*",
            "ignores nothing in this run: elsewhere.py (orders): unknown",
        ]
    )


def test_an_ignore_holds_on_its_last_day(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[[tool.querygrowth.ignore]]\nplace = 'a'\nreason = 'b'\nexpires = 2030-12-31\n",
        encoding="utf-8",
    )
    settings = read_settings(tmp_path)
    for today, holding in ((date(2030, 12, 31), 1), (date(2031, 1, 1), 0)):
        accepted = read_accepted(settings, today=today, writing=False)
        assert (len(accepted.ignores), len(accepted.expired)) == (holding, 1 - holding)


def test_the_files_and_annotations_of_a_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(pytester, test_some=SOME)
    pytester.makefile(
        ".toml",
        pyproject="[tool.querygrowth]\nrules = {lazy-load = 'error', repeated-statement = 'warn'}",
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    result = pytester.runpytest(
        *OPTIONS,
        "--queries",
        "--queries-json=found.json",
        "--queries-sarif=found.sarif",
        "--queries-markdown=found.md",
        "-W",
        "default",
    )
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "::error file=faults.py,line=8,title=lazy-load%3A Order.items*",
            "::warning file=faults.py,line=23,title=repeated-statement*",
        ]
    )
    written = json.loads((pytester.path / "found.json").read_text())
    assert (written["version"], written["tests"], written["queries"]) == (1, 2, 7)
    assert [(each["file"], each["line"]) for each in written["findings"]] == [
        ("faults.py", 8),
        ("faults.py", 23),
    ]
    sarif = json.loads((pytester.path / "found.sarif").read_text())
    (run,) = sarif["runs"]
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [
        ("lazy-load", "error"),
        ("repeated-statement", "warning"),
    ]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(RULES)
    markdown = (pytester.path / "found.md").read_text()
    assert markdown == (pytester.path / "summary.md").read_text()
    assert "| lazy\\-load | Order.items | 3 | faults.py:8 in lazy\\_collection |" in markdown
    # At level report, a finding is worth a note.
    result = pytester.runpytest(
        *OPTIONS, "--queries", "--queries-level=report", "--queries-sarif=found.sarif"
    )
    result.stdout.fnmatch_lines(["::notice file=faults.py,line=8,*"])
    (run,) = json.loads((pytester.path / "found.sarif").read_text())["runs"]
    assert {each["level"] for each in run["results"]} == {"note"}


def test_a_file_that_cannot_be_written_is_named_and_fails_nothing(
    pytester: pytest.Pytester,
) -> None:
    write_project(pytester, test_some=SOME)
    result = pytester.runpytest(
        *OPTIONS, "--queries", "--queries-json=no/such/folder.json", "--queries-markdown=."
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["cannot write no/such/folder.json: *", "cannot write .: *"])
