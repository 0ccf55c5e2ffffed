"""Reports as text: Markdown, SARIF, annotations and the terminal, from saved results alone."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.bench.causes import failures_by_cause
from harness.bench.result_file import load_results
from harness.bench.results import Judgement, Results, Topic
from harness.report import write_reports
from harness.report.page import render_page
from harness.report.text import (
    render_annotations,
    render_failures,
    render_markdown,
    render_results,
    render_sarif,
)
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

SAVED = Path("fixtures/results")
N_PLUS_ONE = load_results(SAVED / "n_plus_one.json")
RETRY_ORDER = load_results(SAVED / "retry_order.json")
PASSED = load_results(SAVED / "passed.json")

HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(1)) | `--` @team ::error::%0A\n::warning::"
)


def hostile() -> Results:
    site = CallSite("src/a,b:c.py", 3, HOSTILE)
    verdict = Verdict(HOSTILE, Outcome.FAILED, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE, site)
    return replace(PASSED, judgements=(Judgement(Topic.GROWTH, verdict),))


def on_terminal(results: Results) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(render_results(results), render_failures(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_summary_explains_the_first_failure_before_any_number() -> None:
    text = render_markdown(N_PLUS_ONE)
    assert text.startswith("# Landscape export: failed\n")
    assert text.index("batch_members") < text.index("## Both exporters")
    assert "## Every verdict" in text


@pytest.mark.parametrize(
    ("outcomes", "last_line"),
    [
        ("inconclusive", "verdicts: 1 inconclusive"),
        ("passed passed skipped", "verdicts: 2 passed, 1 skipped"),
        (
            "passed failed inconclusive failed",
            "growth: it: seen (1 passed, 1 failed and 1 that follows from it, 1 inconclusive)",
        ),
        ("skipped", "nothing was judged (1 skipped)"),
        ("", "nothing was judged"),
    ],
)
def test_the_last_line_counts_every_outcome_that_occurs(outcomes: str, last_line: str) -> None:
    judgements = tuple(
        Judgement(Topic.GROWTH, Verdict("it", Outcome(each), "expected", "seen"))
        for each in outcomes.split()
    )
    results = replace(PASSED, judgements=judgements)
    assert on_terminal(results).rstrip().splitlines()[-1] == last_line
    assert last_line.replace("(", "").replace(")", "") in render_markdown(results).replace(
        "(", ""
    ).replace(")", "").replace("\\", "")


def test_the_same_failure_at_several_sizes_is_explained_once() -> None:
    same = [Verdict("it", Outcome.FAILED, "", "other bytes", (f"size {each}",)) for each in "123"]
    other = Verdict("it", Outcome.FAILED, "", "queries grew")
    judgements = [Judgement(Topic.EQUIVALENCE, each) for each in same]
    results = replace(PASSED, judgements=(*judgements, Judgement(Topic.GROWTH, other)))
    shown = on_terminal(results)
    assert "size 1" in shown
    assert "size 2" not in shown
    assert "it: queries grew" in shown
    assert "1 more" not in shown
    assert "2 failed and 2 that follow from them" in shown


def test_the_summary_of_a_pass_shows_both_exporters_and_their_formulas() -> None:
    text = render_markdown(PASSED)
    assert "control: LegacyLandscapeExporter" in text
    formula = "6 + 1.00 rows + 2.00 tokens + 2.00 node_states + 1.00 batches"
    assert f"queries = {formula}" in text
    assert "queries = 12 " in text


def test_hostile_text_is_no_markup_in_the_summary() -> None:
    text = render_markdown(hostile())
    outside_code = re.sub(r"(?m)^    .*$|`+ .*? `+", "", text)
    assert "<script>" not in outside_code
    assert "](" not in outside_code
    assert "\n::" not in text
    rows = [line for line in text.splitlines() if line.startswith("| failed")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6]


def test_sarif_points_at_the_line_that_sends_the_growing_query() -> None:
    log = json.loads(render_sarif(N_PLUS_ONE))
    (run,) = log["runs"]
    growth = next(each for each in run["results"] if each["ruleId"] == "growth")
    location = growth["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {
        "uri": "fixtures/faulty_exporters/queries.py",
        "uriBaseId": "SRCROOT",
    }
    assert location["region"]["startLine"] > 1
    assert growth["level"] == "error"


@pytest.mark.parametrize("results", [N_PLUS_ONE, RETRY_ORDER, PASSED], ids=["n+1", "order", "pass"])
def test_sarif_is_a_log_whose_rules_are_declared_and_paths_relative(results: Results) -> None:
    log = json.loads(render_sarif(results))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    declared = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {each["ruleId"] for each in run["results"]} <= declared
    assert len(run["results"]) == len(failures_by_cause(results))
    for each in run["results"]:
        for location in each.get("locations", ()):
            assert not location["physicalLocation"]["artifactLocation"]["uri"].startswith("/")


def test_an_annotation_stands_on_the_line_that_sends_the_growing_query() -> None:
    first = next(a for a in render_annotations(N_PLUS_ONE) if "growth" in a)
    assert re.match(r"::error file=fixtures/faulty_exporters/queries\.py,line=\d+,title=", first)


def test_a_pass_has_no_annotation() -> None:
    assert list(render_annotations(PASSED)) == []


def test_hostile_text_cannot_end_an_annotation_or_start_another() -> None:
    (annotation,) = render_annotations(hostile())
    assert "\n" not in annotation
    assert annotation.startswith("::error file=src/a%2Cb%3Ac.py,line=3,title=growth%3A ")
    properties = annotation.split("::")[1]
    assert properties.count(",") == 2


def test_the_terminal_shows_hostile_text_as_it_is() -> None:
    assert "[x](javascript:alert(1))" in on_terminal(hostile())


HOSTILE_CONTROLS = "a\x1b[2J\x07\x00\r\n::error::b\u202ec\udcff"
SHOWN_CONTROLS = r"a\x1b[2J\x07\x00\r\n::error::b\u202ec\udcff"


def controlling() -> Results:
    verdict = Verdict(
        *(HOSTILE_CONTROLS, Outcome.FAILED, HOSTILE_CONTROLS, HOSTILE_CONTROLS),
        *((HOSTILE_CONTROLS,), HOSTILE_CONTROLS),
        site=CallSite(HOSTILE_CONTROLS, 3, HOSTILE_CONTROLS),
    )
    largest = PASSED.largest
    seen = replace(largest.candidate.observation, subject=HOSTILE_CONTROLS)
    sizes = (replace(largest, candidate=replace(largest.candidate, observation=seen)),)
    return replace(
        PASSED,
        sizes=sizes,
        formulas={HOSTILE_CONTROLS: HOSTILE_CONTROLS},
        judgements=(Judgement(Topic.GROWTH, verdict),),
    )


def test_the_terminal_obeys_no_text_and_shows_what_it_holds() -> None:
    shown = on_terminal(controlling())
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    assert "\n::" not in shown
    assert "\n  " + SHOWN_CONTROLS in shown


def test_no_control_character_is_in_any_report() -> None:
    results = controlling()
    page = render_page(results)
    for text in (page, render_markdown(results), *json_texts(render_sarif(results))):
        assert not [char for char in text if char not in "\n\t" and not char.isprintable()]
    assert SHOWN_CONTROLS in page


def json_texts(document: str) -> list[str]:
    """Every text in a JSON document, as a reader of it gets them."""
    texts: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        texts.extend(value for _, value in pairs if isinstance(value, str))
        return dict(pairs)

    json.loads(document, object_pairs_hook=collect)
    return texts


def test_no_bare_address_is_a_link_in_the_summary() -> None:
    addresses = "see https://evil.example or WWW.evil.example, mailto:x"
    verdict = Verdict(addresses, Outcome.FAILED, addresses, addresses)
    text = render_markdown(replace(PASSED, judgements=(Judgement(Topic.GROWTH, verdict),)))
    assert "evil.example" in text
    assert not re.search(r"(?i)https?:|www\.|mailto:", text)


def test_no_text_is_a_link_in_sarif_and_its_paths_are_addresses() -> None:
    site = CallSite("src/a b?#%.py", 3, HOSTILE)
    verdict = replace(hostile().judgements[0].verdict, site=site)
    results = replace(PASSED, judgements=(Judgement(Topic.GROWTH, verdict),))
    (result,) = json.loads(render_sarif(results))["runs"][0]["results"]
    assert "](" not in result["message"]["text"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uri"] == "src/a%20b%3F%23%25.py"


def test_the_terminal_ends_with_how_it_came_out() -> None:
    last = on_terminal(RETRY_ORDER).strip().splitlines()[-1]
    assert last.startswith("equivalence: ")
    assert "order, node_state" in last


def test_the_folder_holds_every_report_and_names_them(tmp_path: Path) -> None:
    written = write_reports(PASSED, tmp_path / "new" / "out")
    assert load_results(written.results) == PASSED
    names = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert names == ["report.html", "report.md", "report.sarif", "results.json"]
    assert all(str(path) in "\n".join(written.lines) for path in (written.results, written.page))
