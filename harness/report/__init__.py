"""Reports of results: the output folder with an HTML page, a Markdown summary and a SARIF log.

Everything here works from results alone. Nothing is measured, judged or decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape.output.atomic import new_file
from harness.bench.result_file import Entry, save_results
from harness.bench.results import Results
from harness.report.text import render_markdown, render_sarif

__all__ = ["Written", "write_reports"]


@dataclass(frozen=True)
class Written:
    """The paths of the written files."""

    results: Path
    page: Path
    summary: Path
    sarif: Path

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for every file that a person reads."""
        return tuple(f"wrote {path}" for path in (self.results, self.page, self.summary))


def write_reports(
    results: Results, directory: Path, *, history: Sequence[Entry] = (), docs_url: str = ""
) -> Written:
    """Write results.json, report.html, report.md and report.sarif.

    Args:
        results: The results to report.
        directory: The folder; made if it does not exist.
        history: Earlier results for the page, oldest first.
        docs_url: The address of the folder of the documentation, for links in the SARIF log.
    """
    # Imported here, as a plotting library takes longer to import than most commands run.
    from harness.report.page import render_page

    directory.mkdir(parents=True, exist_ok=True)
    written = Written(
        results=directory / "results.json",
        page=directory / "report.html",
        summary=directory / "report.md",
        sarif=directory / "report.sarif",
    )
    # First, so that no fault of a report can lose what took minutes to measure.
    save_results(results, written.results)
    texts = {
        written.page: render_page(results, history=history),
        written.summary: render_markdown(results),
        written.sarif: render_sarif(results, docs_url=docs_url),
    }
    for path, text in texts.items():
        with new_file(path) as file:
            # A path or a message may hold a lone surrogate, which UTF-8 cannot encode.
            file.write(text.encode("utf-8", "backslashreplace"))
    return written
