"""Reports: their lines of source, and hostile text that stays text."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from querygrowth.places.call_sites import CallSite
from querygrowth.reports import (
    Reported,
    annotations,
    code,
    commands_stopped,
    markdown_failure,
    markdown_table,
    plain,
    sarif_log,
    site_within,
    visible,
    visible_verdict,
)
from querygrowth.verdict import Outcome, Verdict

ROOT = Path("/checkout")
SITE = CallSite("/checkout/shop/orders.py", 12, "items_of")
GREW = Verdict(
    "items_of",
    Outcome.FAILED,
    "the same count at every scale",
    "queries grew with orders",
    ("items: 2, 20, 501",),
    "a loop",
    SITE,
)
RULES = {"growth": "Queries do not grow", "speed against base": "Not slower"}
MARKUP = "<script>alert(1)</script> [x](javascript:alert(1)) | `--` @team ::error::%0A\n::warning::"
CONTROLS = "a\x1b[2J\x07\x00\r\n::error::b\u202ec\udcff"
SHOWN_CONTROLS = r"a\x1b[2J\x07\x00\r\n::error::b\u202ec\udcff"


def hostile(text: str) -> Reported:
    site = CallSite(text, 3, text)
    return Reported("growth", Verdict(text, Outcome.FAILED, text, text, (text,), text, site))


def sarif(*reported: Reported) -> dict[str, Any]:
    (run,) = json.loads(sarif_log(reported, tool="shop tests", rules=RULES, root=ROOT))["runs"]
    assert isinstance(run, dict)
    return run


def results(*reported: Reported) -> list[dict[str, Any]]:
    found = sarif(*reported)["results"]
    assert isinstance(found, list)
    return found


class TestSites:
    def test_a_file_of_the_checkout_is_named_from_its_root(self) -> None:
        assert site_within(SITE, ROOT) == CallSite("shop/orders.py", 12, "items_of")

    @pytest.mark.parametrize(
        "path",
        [
            "/elsewhere/orders.py",
            "/checkout/../elsewhere/orders.py",
            "/checkout/.venv/lib/python3.11/site-packages/shop/orders.py",
            "../orders.py",
        ],
    )
    def test_a_file_outside_the_checkout_or_of_a_library_has_no_site(self, path: str) -> None:
        assert site_within(replace(SITE, path=path), ROOT) is None

    def test_a_saved_site_is_taken_as_it_is(self) -> None:
        saved = replace(SITE, path="shop/orders.py")
        assert site_within(saved, Path("/wherever")) == saved

    def test_no_site_stays_none(self) -> None:
        assert site_within(None, ROOT) is None


class TestSarif:
    def test_a_failure_is_a_result_at_its_line(self) -> None:
        (result,) = results(Reported("growth", GREW))
        assert (result["ruleId"], result["level"]) == ("growth", "error")
        assert result["locations"] == [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "shop/orders.py", "uriBaseId": "SRCROOT"},
                    "region": {"startLine": 12},
                }
            }
        ]
        assert result["message"]["text"].startswith("items_of: queries grew with orders\n")

    def test_the_log_names_its_version_and_its_published_schema(self) -> None:
        log = json.loads(sarif_log([], tool="shop tests", rules=RULES, root=ROOT))
        assert log["version"] == "2.1.0"
        assert log["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"

    def test_the_rules_and_the_tool_are_declared(self) -> None:
        driver = sarif()["tool"]["driver"]
        assert driver["name"] == "shop tests"
        assert driver["rules"] == [
            {"id": "growth", "shortDescription": {"text": "Queries do not grow"}},
            {"id": "speed-against-base", "shortDescription": {"text": "Not slower"}},
        ]

    def test_paths_are_relative_to_the_root_that_the_log_names(self) -> None:
        run = sarif(Reported("growth", GREW))
        (result,) = run["results"]
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert run["originalUriBaseIds"] == {
            location["uriBaseId"]: {"description": {"text": "The checkout's root"}}
        }
        assert run["columnKind"] == "unicodeCodePoints"

    def test_an_inconclusive_verdict_is_a_warning_and_a_pass_is_left_out(self) -> None:
        undecided = replace(GREW, outcome=Outcome.INCONCLUSIVE, site=None)
        (result,) = results(
            Reported("speed against base", undecided),
            *(
                Reported("growth", replace(GREW, outcome=o))
                for o in (Outcome.PASSED, Outcome.SKIPPED)
            ),
        )
        assert (result["ruleId"], result["level"]) == ("speed-against-base", "warning")
        assert "locations" not in result

    def test_no_text_is_a_link_or_a_control_character_and_a_path_is_an_address(self) -> None:
        (markup,) = results(hostile(MARKUP))
        assert "](" not in markup["message"]["text"]
        (controls,) = results(hostile(CONTROLS))
        assert SHOWN_CONTROLS in controls["message"]["text"]
        (odd,) = results(Reported("growth", replace(GREW, site=CallSite("a b?#%.py", 1, "f"))))
        assert "a%20b%3F%23%25.py" in json.dumps(odd["locations"])


class TestAnnotations:
    def test_a_failure_stands_at_its_line(self) -> None:
        (annotation,) = annotations([Reported("growth", GREW)], root=ROOT)
        assert annotation.startswith(
            "::error file=shop/orders.py,line=12,title=growth%3A queries grew with orders::items_of"
        )

    def test_those_with_a_line_come_first_and_only_as_many_as_github_shows(self) -> None:
        unplaced = Reported("growth", replace(GREW, site=None))
        shown = list(annotations([unplaced] * 9 + [Reported("growth", GREW)] * 3, root=ROOT))
        assert ["file=" in each for each in shown] == [True] * 3 + [False] * 7

    def test_a_pass_has_none(self) -> None:
        passed = replace(GREW, outcome=Outcome.PASSED)
        assert list(annotations([Reported("growth", passed)], root=ROOT)) == []

    def test_hostile_text_cannot_end_one_or_start_another(self) -> None:
        (annotation,) = annotations([hostile(MARKUP)], root=ROOT)
        assert "\n" not in annotation
        assert annotation.split("::")[1].count(",") == 2

    def test_github_takes_nothing_printed_for_a_command(self) -> None:
        said: list[str] = []
        with commands_stopped({"GITHUB_ACTIONS": "true"}, said.append):
            said.append("::error::forged")
        start, _, end = said
        token = start.removeprefix("::stop-commands::")
        assert len(token) == 64
        assert end == f"::{token}::"

    def test_elsewhere_nothing_is_said_about_commands(self) -> None:
        said: list[str] = []
        with commands_stopped({}, said.append):
            said.append("text")
        assert said == ["text"]


class TestMarkdown:
    def test_a_failure_says_what_where_what_was_expected_and_what_to_try(self) -> None:
        assert "\n".join(markdown_failure(Reported("growth", GREW), root=ROOT)) == (
            "## growth: items\\_of\n\n"
            "**queries grew with orders**\n\n"
            "    items: 2, 20, 501\n\n"
            "At: ` shop/orders.py:12 in items_of `\n\n"
            "Expected: the same count at every scale\n\n"
            "Look at: a loop"
        )

    def test_the_table_has_the_outcome_of_every_verdict(self) -> None:
        every = [Reported("growth", replace(GREW, outcome=outcome)) for outcome in Outcome]
        rows = list(markdown_table(every))[2:]
        assert [row.split(" ")[1] for row in rows] == [
            "passed",
            "failed",
            "inconclusive",
            "skipped",
        ]

    def test_hostile_text_is_no_markup(self) -> None:
        reported = hostile(MARKUP)
        text = "\n".join([*markdown_failure(reported, root=ROOT), *markdown_table([reported])])
        outside_code = re.sub(r"(?m)^    .*$|`+ .*? `+", "", text)
        assert "<script>" not in outside_code
        assert "](" not in outside_code
        assert "\n::" not in text
        assert len(re.findall(r"(?<!\\)\|", text.splitlines()[-1])) == 6

    def test_no_bare_address_is_a_link(self) -> None:
        shown = plain("see https://evil.example or WWW.evil.example, mailto:x")
        assert "evil.example" in shown
        assert not re.search(r"(?i)https?:|www\.|mailto:", shown)

    @pytest.mark.parametrize("text", ["`", "a``b", "```", "plain"])
    def test_a_code_span_ends_where_its_text_does(self, text: str) -> None:
        fence, shown, end = code(text).split(" ")
        assert (shown, end) == (text, fence)
        assert fence not in text


def test_control_characters_show_as_their_codes() -> None:
    assert visible(CONTROLS) == SHOWN_CONTROLS
    assert visible("a\nb\x07", kept="\n") == "a\nb\\x07"
    shown = str(visible_verdict(hostile(CONTROLS).verdict))
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    assert len(shown.splitlines()) == 5
