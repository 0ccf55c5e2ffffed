"""Reports of results: a terminal, an HTML page, a Markdown summary, SARIF and annotations.

Everything here works from results alone. Nothing is measured, judged or decided.
"""

from harness.report.write import Written, write_reports

__all__ = ["Written", "write_reports"]
