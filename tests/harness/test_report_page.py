"""The report page in a real browser: complete, quiet, readable, and safe with hostile text."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.bench.paired_ratio import Pairing, pair
from harness.bench.result_file import Entry, load_results
from harness.bench.results import Judgement, Results, Topic
from harness.bench.timing import Timing
from harness.report.charts import charts_of
from harness.report.page import render_page
from harness.report.svg import draw
from querygrowth.counting.activity import ShapeActivity
from querygrowth.verdict import GROWTH, Outcome, Verdict

SAVED = Path("fixtures/results")
PASSED = load_results(SAVED / "passed.json")
HOSTILE = "</title></svg><script>document.title='owned'</script><img src=x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@contextmanager
def opened(browser: Any, page: str, path: Path, **options: Any) -> Iterator[Any]:
    """Open a page with the network cut off; it must stay silent and ask for nothing."""
    path.write_text(page, encoding="utf-8")
    said: list[str] = []
    asked: list[str] = []
    context = browser.new_context(**options)
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    context.close()
    assert said == []
    assert asked == [path.as_uri()]


def slower() -> Results:
    base = Timing("base main", (0.100, 0.102, 0.098, 0.101, 0.099, 0.100) * 2)
    head = Timing("head working tree", (0.118, 0.121, 0.115, 0.119, 0.116, 0.118) * 2)
    pairing = Pairing(500, 4000, pair(base, head), pair(base, head))
    speed = Judgement(Topic.SPEED, pairing.verdict())
    return replace(PASSED, pairing=pairing, judgements=(*PASSED.judgements, speed))


def of_a_whole_gate() -> Results:
    """A failure of each kind among as many verdicts as all checks of a gate give."""
    failing = load_results(SAVED / "n_plus_one.json")
    passed = tuple(
        Judgement(
            Topic.EQUIVALENCE,
            Verdict(
                "TrailExporter",
                Outcome.PASSED,
                "the export of LegacyLandscapeExporter, to the byte",
                f"the same exports to the byte: runs with feature {number} (sqlite)",
                next_step="harness check --postgresql URL",
            ),
        )
        for number in range(36)
    )
    raced = slower()
    return replace(
        failing,
        formulas=PASSED.formulas,
        pairing=raced.pairing,
        judgements=(*failing.judgements, raced.judgements[-1], *passed),
    )


def hostile() -> Results:
    largest = PASSED.largest
    seen = largest.candidate.observation
    shapes = (ShapeActivity.named(HOSTILE, HOSTILE, 1), *seen.activity.shapes)
    activity = replace(seen.activity, shapes=shapes)
    observation = replace(seen, subject=HOSTILE, activity=activity)
    candidate = replace(largest.candidate, observation=observation)
    first = PASSED.sizes[0]
    named = replace(
        first.candidate, observation=replace(first.candidate.observation, subject=HOSTILE)
    )
    sizes = (replace(first, candidate=named), replace(largest, candidate=candidate))
    verdict = Verdict(HOSTILE, Outcome.FAILED, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE)
    return replace(
        PASSED,
        sizes=sizes,
        formulas={HOSTILE: HOSTILE},
        environment=replace(PASSED.environment, commit=HOSTILE),
        judgements=(Judgement(Topic.GROWTH, verdict),),
    )


def earlier(*speed_ups: float) -> tuple[Entry, ...]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return tuple(
        Entry(start + timedelta(days=day), f"{day:040x}", "a machine", 2000, 12, 90_000.0, speed_up)
        for day, speed_up in enumerate(speed_ups)
    )


@cache
def page_of(name: str) -> str:
    """Render a page that several tests look at."""
    return render_page(every_kind()[name])


@in_a_browser
def test_every_chart_is_drawn_and_the_page_fits_its_width(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_of("passed"), tmp_path / "report.html") as tab:
        inks = set()
        for width, scheme in ((1280, "light"), (380, "dark")):
            tab.set_viewport_size({"width": width, "height": 800})
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            for key in ("queries", "control", "rate", "memory", "work"):
                picture = tab.locator(f"#chart-{key} svg[role=img]")
                assert picture.bounding_box()["width"] > 200
                assert tab.locator(f"#chart-{key} path").count() > 5
            ink = tab.evaluate("getComputedStyle(document.body).color")
            label = "document.querySelector('#chart-queries text')"
            assert tab.evaluate(f"getComputedStyle({label}).fill") == ink
            inks.add(ink)
        assert len(inks) == 2


@in_a_browser
def test_every_chart_has_a_title_units_and_a_text_alternative(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_of("passed"), tmp_path / "report.html") as tab:
        pictures = tab.locator("svg[role=img]")
        assert pictures.count() == 6
        for number in range(5):
            labels = pictures.nth(number).get_attribute("aria-labelledby").split()
            title, description = (tab.locator(f"#{label}").text_content() for label in labels)
            assert title
            assert "against source rows of the run" in description
            assert "Exporter" in description


def test_a_constant_is_level_and_a_rise_is_shaded_on_axes_from_zero() -> None:
    constant, *others = charts_of(PASSED)
    assert constant.lines[0].label == "candidate LandscapeExporter: the same at every size"
    assert others[0].lines[0].label == "control LegacyLandscapeExporter: from 217 to 6,309"
    rising, *_ = charts_of(load_results(SAVED / "n_plus_one.json"))
    assert rising.lines[0].label == "candidate MembersBatchByBatch: from 13 to 15"
    for chart in (constant, rising, others[0]):
        assert not chart.is_logarithmic
        assert chart.y_floor == 0
    assert "var(--bad)" not in draw(constant)
    assert "var(--bad)" in draw(rising)


def test_every_target_is_in_the_unit_of_its_axis() -> None:
    agreed = {each.metric: each for each in PASSED.targets}
    charts = {chart.key: chart for chart in charts_of(PASSED)}
    rate, memory = agreed["rows_per_second"], agreed["peak_mebibytes"]
    assert charts["rate"].y_label == "rows/s"
    assert [each.value for each in charts["rate"].levels] == [rate.at_least]
    assert charts["rate"].lines[1].ys[-1] == pytest.approx(
        PASSED.largest.candidate.timing.per_second(PASSED.largest.run.rows)
    )
    assert charts["memory"].y_label == memory.unit
    assert [each.value for each in charts["memory"].levels] == [memory.at_most]
    assert [each.value for each in charts["queries"].levels] == [agreed["queries"].exactly]


@in_a_browser
def test_a_pointer_on_a_point_shows_its_values(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_of("passed"), tmp_path / "report.html") as tab:
        shown = tab.locator("#chart-queries g > title").all_text_contents()
        assert shown == [
            f"candidate LandscapeExporter: 12 queries, source rows of the run: {rows}"
            for rows in (10, 30, 300)
        ]
        box = tab.locator("#queries-0-2 use").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        found = "([x, y]) => document.elementFromPoint(x, y).closest('g[id^=queries-]').id"
        tab.evaluate("y => window.scrollTo(0, y - 200)", y)
        y -= tab.evaluate("window.scrollY")
        assert tab.evaluate(found, [x, y]) == "queries-0-2"


def every_kind() -> dict[str, Results]:
    saved = {name: load_results(SAVED / f"{name}.json") for name in ("n_plus_one", "retry_order")}
    return {"passed": PASSED, "slower": slower(), "whole gate": of_a_whole_gate(), **saved}


@pytest.mark.parametrize("name", every_kind())
def test_every_link_leads_to_a_part_of_the_page(name: str) -> None:
    results = every_kind()[name]
    page = render_page(results, history=earlier(22.0, 21.0))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    linked = re.findall(r'href="#([^"]+)"', page)
    assert set(linked) <= set(ids)
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert linked[: len(sections)] == sections
    rows = re.findall(r'<tr class="(\w+)"><th scope="row">(<a href="#failure-)?', page)
    assert all(bool(link) == (outcome == "failed") for outcome, link in rows)


@in_a_browser
@pytest.mark.parametrize("name", every_kind())
def test_it_prints_on_three_pages_at_most(browser: Any, tmp_path: Path, name: str) -> None:
    with opened(browser, page_of(name), tmp_path / "report.html") as tab:
        paper = tab.pdf(
            format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm")
        )
        pages = paper.count(b"/Type /Page") - paper.count(b"/Type /Pages")
        assert 1 <= pages <= 3


@in_a_browser
def test_hostile_text_is_shown_and_never_run(browser: Any, tmp_path: Path) -> None:
    with opened(browser, render_page(hostile()), tmp_path / "report.html") as tab:
        assert "owned" not in tab.title().replace(HOSTILE, "")
        assert tab.locator("script, img").count() == 0
        assert HOSTILE in tab.locator("#failures").text_content()
        assert HOSTILE in tab.locator("#shapes").text_content()
        assert HOSTILE in tab.locator("#chart-queries desc").text_content()


@in_a_browser
def test_a_failure_comes_first_with_its_line_and_what_to_try(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_of("n_plus_one"), tmp_path / "report.html") as tab:
        assert tab.locator("main > section").first.get_attribute("id") == "failures"
        failure = tab.locator(".failure").first.text_content()
        assert "fixtures/faulty_exporters/queries.py:" in failure
        assert "Look at" in failure


@in_a_browser
def test_the_first_difference_is_shown_once(browser: Any, tmp_path: Path) -> None:
    results = load_results(SAVED / "retry_order.json")
    with opened(browser, render_page(results), tmp_path / "report.html") as tab:
        assert "order, node_state" in tab.locator("#failure-1").text_content()
        assert tab.locator("#difference").count() == 0
    # Where no failure shows it, it has a section.
    other = replace(results, judgements=())
    with opened(browser, render_page(other), tmp_path / "other.html") as tab:
        assert "order, node_state" in tab.locator("#difference").text_content()


@pytest.mark.parametrize(
    ("name", "kind", "evidence"),
    [("n_plus_one", GROWTH, "chart-queries"), ("retry_order", "", "numbers")],
)
def test_a_failure_leads_to_its_evidence(name: str, kind: str, evidence: str) -> None:
    results = load_results(SAVED / f"{name}.json")
    (cause, *_) = results.failures
    cause = replace(cause, verdict=replace(cause.verdict, kind=kind))
    page = render_page(replace(results, judgements=(cause,)))
    first = page[page.index('id="failure-1"') : page.index("</article>")]
    assert re.findall(r'<dt>See</dt><dd><a href="#([^"]+)"', first) == [evidence]
    assert f' id="{evidence}"' in page


@in_a_browser
def test_a_slower_head_shows_its_ratio_round_by_round(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_of("slower"), tmp_path / "report.html") as tab:
        text = tab.locator("#pairing").text_content()
        assert "ratio 0.848" in text
        assert "Higher is better" in text
        assert tab.locator("#chart-race svg[role=img]").count() == 1
        table = tab.locator("#pairing tbody tr")
        assert table.count() == 12
        assert not table.first.is_visible()
        tab.locator("#pairing summary", has_text="12 rounds as a table").click()
        assert table.first.is_visible()


@in_a_browser
def test_earlier_results_are_plotted_and_the_change_is_marked(browser: Any, tmp_path: Path) -> None:
    history = earlier(22.0, 22.5, 17.0)
    history = (*history[:2], replace(history[2], changed=True))
    with opened(browser, render_page(PASSED, history=history), tmp_path / "report.html") as tab:
        assert tab.locator("#chart-history svg[role=img]").count() == 1
        shown = tab.locator("#chart-history g > title").all_text_contents()
        assert "date and revision: 2026-01-02 0000000" in shown[1]
        assert "changed here" in shown[2]
        assert tab.locator("#history tbody tr").nth(2).text_content().count("changed here") == 1


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = page_of("passed")
    linked = page.replace("http://www.w3.org/", "")
    assert "http://" not in linked
    assert "https://" not in linked
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_results_without_a_measured_run_render_too() -> None:
    page = render_page(replace(PASSED, sizes=(), judgements=(), formulas={}, pairing=None))
    assert "nothing was judged" in page
    assert "<svg" not in page


def test_the_same_results_give_the_same_page() -> None:
    assert render_page(PASSED) == page_of("passed")
