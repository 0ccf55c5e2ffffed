"""The output folder: every rendering of one invocation's results, and the results themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape.output.atomic import new_file
from harness.bench.history import Entry
from harness.bench.result_file import save_results
from harness.bench.results import Results
from harness.report.markdown import render_markdown
from harness.report.text import render_sarif


@dataclass(frozen=True)
class Written:
    """Where each file is."""

    results: Path
    page: Path
    summary: Path
    sarif: Path

    @property
    def lines(self) -> tuple[str, ...]:
        """The files, one a line."""
        return tuple(f"wrote {path}" for path in (self.results, self.page, self.summary))


def write_reports(results: Results, directory: Path, *, history: Sequence[Entry] = ()) -> Written:
    """Write results.json, report.html, report.md and report.sarif into a folder made if need be."""
    # Charts take a plotting library, which takes longer to import than most commands run.
    from harness.report.page import render_page

    directory.mkdir(parents=True, exist_ok=True)
    written = Written(
        results=directory / "results.json",
        page=directory / "report.html",
        summary=directory / "report.md",
        sarif=directory / "report.sarif",
    )
    texts = {
        written.page: render_page(results, history=history),
        written.summary: render_markdown(results),
        written.sarif: render_sarif(results),
    }
    save_results(results, written.results)
    for path, text in texts.items():
        with new_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    return written
