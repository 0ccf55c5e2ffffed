"""Report: results rendered for a terminal, a page, a job summary, SARIF and annotations.

Everything here works from results alone: nothing is measured and nothing decided.
"""

from harness.report.write import Written, write_reports

__all__ = ["Written", "write_reports"]
