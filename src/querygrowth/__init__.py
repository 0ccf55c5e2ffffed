"""Count the queries that SQLAlchemy sends, and find the ones that grow with the data.

The public names are listed in `__all__`. They are imported when they are first used, because
pytest imports this package in every run, and a suite that counts no queries should not pay for
SQLAlchemy and sqlglot. `querygrowth.search` and `assert_same_results` need Hypothesis; the former
is imported by its own name.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package and then
runs pytest in the same process, and `-W error` turns that warning into a crash.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from querygrowth.assertions import assert_query_growth
    from querygrowth.contracts.allowance import Allowance
    from querygrowth.contracts.contract import QueryContract
    from querygrowth.counting.activity import Activity, activity_of
    from querygrowth.counting.driver import DriverTrace, trace_driver
    from querygrowth.counting.log import count_queries
    from querygrowth.counting.query import Query
    from querygrowth.counting.query_log import QueryLog
    from querygrowth.counting.statements import Shape, StatementKind
    from querygrowth.counting.watch import StepError
    from querygrowth.counting.work import count_branches, count_vm_steps
    from querygrowth.growth.formula import (
        Attribution,
        ConfoundedAxesError,
        CountedRun,
        Formula,
        attribute,
    )
    from querygrowth.growth.measure import measure_growth
    from querygrowth.growth.report import AxisGrowth, GrowthReport
    from querygrowth.growth.verdicts import judge_growth
    from querygrowth.places.call_sites import CallSite, Project
    from querygrowth.rewrites import (
        InconclusiveError,
        SameResults,
        assert_same_results,
        compare_results,
    )
    from querygrowth.suite.allowed import allow_queries
    from querygrowth.suite.grow.populate import copied_rows
    from querygrowth.tables import Filled, FilledAxes, FillError, fill_tables, filled_axes
    from querygrowth.verdict import InconclusiveWarning, Outcome, Verdict, VerdictError

__all__ = [
    "Activity",
    "Allowance",
    "Attribution",
    "AxisGrowth",
    "CallSite",
    "ConfoundedAxesError",
    "CountedRun",
    "DriverTrace",
    "FillError",
    "Filled",
    "FilledAxes",
    "Formula",
    "GrowthReport",
    "InconclusiveError",
    "InconclusiveWarning",
    "Outcome",
    "Project",
    "Query",
    "QueryContract",
    "QueryLog",
    "SameResults",
    "Shape",
    "StatementKind",
    "StepError",
    "Verdict",
    "VerdictError",
    "activity_of",
    "allow_queries",
    "assert_query_growth",
    "assert_same_results",
    "attribute",
    "compare_results",
    "copied_rows",
    "count_branches",
    "count_queries",
    "count_vm_steps",
    "fill_tables",
    "filled_axes",
    "judge_growth",
    "measure_growth",
    "trace_driver",
]

_MODULES = {
    "assertions": ("assert_query_growth",),
    "contracts.allowance": ("Allowance",),
    "contracts.contract": ("QueryContract",),
    "counting.activity": ("Activity", "activity_of"),
    "counting.driver": ("DriverTrace", "trace_driver"),
    "counting.log": ("count_queries",),
    "counting.query": ("Query",),
    "counting.query_log": ("QueryLog",),
    "counting.statements": ("Shape", "StatementKind"),
    "counting.watch": ("StepError",),
    "counting.work": ("count_branches", "count_vm_steps"),
    "growth.formula": ("Attribution", "ConfoundedAxesError", "CountedRun", "Formula", "attribute"),
    "growth.measure": ("measure_growth",),
    "growth.report": ("AxisGrowth", "GrowthReport"),
    "growth.verdicts": ("judge_growth",),
    "places.call_sites": ("CallSite", "Project"),
    "rewrites": ("InconclusiveError", "SameResults", "assert_same_results", "compare_results"),
    "suite.allowed": ("allow_queries",),
    "suite.grow.populate": ("copied_rows",),
    "tables": ("Filled", "FilledAxes", "FillError", "fill_tables", "filled_axes"),
    "verdict": ("InconclusiveWarning", "Outcome", "Verdict", "VerdictError"),
}


# Hidden from type checkers, to which a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        for module, names in _MODULES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value  # the next use finds it without this function
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
