"""The rules of the suite report: what each looks for, and from how many statements on."""

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """What a finding does: nothing, a line of the report, a warning, or a failed test."""

    OFF = "off"
    REPORT = "report"
    WARN = "warn"
    ERROR = "error"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Rule:
    """A pattern that the suite report looks for.

    Attributes:
        name: The name in settings, reports and baselines.
        text: One sentence that describes the pattern.
        threshold: From how many statements in one call on it is a finding, unless the settings
            say otherwise.
        opt_in: Whether it is off until the settings give it a level.
        at_end: Whether only the whole run can tell, so that it fails no test.
    """

    name: str
    text: str
    threshold: int
    opt_in: bool = False
    at_end: bool = False


LAZY_LOAD = Rule("lazy-load", "A relationship was loaded once per object.", 2)
REPEATED_STATEMENT = Rule("repeated-statement", "One statement was sent again and again.", 3)
REFRESHED_ATTRIBUTE = Rule("refreshed-attribute", "Expired objects were loaded one by one.", 2)
DEFERRED_ATTRIBUTE = Rule("deferred-attribute", "Deferred columns were loaded once per object.", 2)
ROW_BY_ROW_WRITE = Rule("row-by-row-write", "Rows were written one statement at a time.", 3)
UNUSED_EAGER_LOAD = Rule(
    "unused-eager-load",
    "A relationship was loaded eagerly, and no test read it.",
    1,
    opt_in=True,
    at_end=True,
)
UNINDEXED_FILTER = Rule(
    "unindexed-filter", "Rows were selected by columns that no index begins with.", 1, opt_in=True
)

RULES = {
    rule.name: rule
    for rule in (
        LAZY_LOAD,
        REPEATED_STATEMENT,
        REFRESHED_ATTRIBUTE,
        DEFERRED_ATTRIBUTE,
        ROW_BY_ROW_WRITE,
        UNUSED_EAGER_LOAD,
        UNINDEXED_FILTER,
    )
}
"""The rules by name, in the order of the report."""
