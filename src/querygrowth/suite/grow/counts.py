"""Count what each line sent in its busiest call, and compare the runs of a test."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from querygrowth.counting.causes import parents_by_number
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.table_names import bare_name
from querygrowth.suite.findings import Finding
from querygrowth.suite.grow.calls import CallFinder, CallPlace
from querygrowth.suite.patterns import (
    Sent,
    about_of,
    finding_of,
    has_limit,
    rule_of,
    unread_queries,
)
from querygrowth.suite.rules import RULES, Level
from querygrowth.suite.settings import Settings

_LEAST = 2  # statements in one call with one copy: one statement does not repeat


class Line(NamedTuple):
    """A line of the application, and what it sent.

    Attributes:
        rule: The name of the rule that repeated statements of this kind fall under.
        about: The relationship, the attributes, or the statement in short.
        path: The file.
        line: Its line.
    """

    rule: str
    about: str
    path: str
    line: int


@dataclass
class Tally:
    """What the application sent in one run of a test.

    Attributes:
        most: By line and call of the test, the most statements in one call.
        sent: The statements, by line.
        queries: The number of all queries of the application.
        writing: The calls of the test that wrote.
        tables: The tables that the application read, without their schemas.
        limited: The calls of the test in which a statement had a LIMIT.
    """

    most: dict[Line, dict[CallPlace, int]] = field(default_factory=dict)
    sent: dict[Line, list[Sent]] = field(default_factory=dict)
    queries: int = 0
    writing: set[CallPlace] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    limited: set[CallPlace] = field(default_factory=set)


@dataclass(frozen=True)
class Growth:
    """Statements of a line that grow with the rows.

    Attributes:
        finding: The place, the evidence and the fix.
        control: The most statements in one call without copies.
        one: The same with one copy of each row.
        three: The same with three copies.
        rows: What was copied in words, such as "rows below orders".
        call: The call of the test that shows it.
        writes: Whether that call writes.
        line: The line of the application.
    """

    finding: Finding
    control: int
    one: int
    three: int
    rows: str
    call: CallPlace
    writes: bool
    line: Line

    def to_plain(self) -> dict[str, Any]:
        """The growth as values that JSON can carry, without the call."""
        return {
            "finding": self.finding.to_plain(),
            "control": self.control,
            "one": self.one,
            "three": self.three,
            "rows": self.rows,
        }


def tally(log: QueryLog, finder: CallFinder, settings: Settings) -> Tally:
    """Count what the application sent.

    Args:
        log: What the body of a test sent.
        finder: Tells the calls from each other.
        settings: The rules that are off are left out.
    """
    unread = unread_queries(log, lambda callers: finder.call_of(callers) is not None)
    queries = [each.read(number, sent) for number, (sent, _, each) in enumerate(unread, 1)]
    parents = parents_by_number(queries)
    counts: defaultdict[Line, Counter[tuple[CallPlace, int]]] = defaultdict(Counter)
    found = Tally(queries=len(queries))
    for (execution, callers, each), query in zip(unread, queries, strict=True):
        rule, call, trail = rule_of(query), finder.call_of(callers), finder.trail_of(callers)
        found.tables |= {bare_name(each).casefold() for each in query.shape.tables_read}
        if call is not None and query.shape.tables_written:
            found.writing.add(call.place)
        if call is not None and has_limit(query):
            found.limited.add(call.place)
        if rule is None or call is None or settings.levels[rule.name] is Level.OFF:
            continue
        site = trail.site_of(trail.chain[0])
        line = Line(rule.name, about_of(query, rule), site.path, site.line)
        counts[line][call.place, call.number] += 1
        sent = Sent(
            query, trail, (id(each), execution.transaction), parents.get(query.number), call.number
        )
        found.sent.setdefault(line, []).append(sent)
    for line, by_call in counts.items():
        most = found.most.setdefault(line, {})
        for (place, _), count in by_call.items():
            most[place] = max(most.get(place, 0), count)
    return found


def may_grow(probe: Tally) -> bool:
    """Whether a run with copies shows anything that further runs could confirm."""
    return any(count >= _LEAST for most in probe.most.values() for count in most.values())


def grew(probe: Tally, control: Tally) -> bool:
    """Whether any line sent more with one copy than without."""
    return any(
        count >= _LEAST and count > control.most.get(line, {}).get(place, 0)
        for line, most in probe.most.items()
        for place, count in most.items()
    )


def growths(
    control: Tally, one: Tally, three: Tally, rows: str, settings: Settings
) -> Iterator[Growth]:
    """Yield the lines that sent more and more.

    Args:
        control: Counts without copies.
        one: Counts with one copy of each row.
        three: Counts with three copies. A LIMIT may have stopped the growth.
        rows: What was copied.
        settings: The levels.
    """
    for line, most in three.most.items():
        shown = [
            (third, place, before, first)
            for place, third in most.items()
            if (first := one.most.get(line, {}).get(place, 0)) >= _LEAST
            and grows(
                before := control.most.get(line, {}).get(place, 0),
                first,
                third,
                limited=place in three.limited,
            )
        ]
        if not shown:
            continue
        third, place, before, first = max(shown, key=lambda each: each[0])
        rule = RULES[line.rule]
        finding = finding_of(rule, line.about, three.sent[line], third, settings)
        if finding.level is not Level.OFF and not finding.in_test_code:
            writes = place in three.writing
            yield Growth(finding, before, first, third, rows, place, writes, line)


def grows(control: int, one: int, three: int, *, limited: bool) -> bool:
    """Whether counts rise with the rows. A LIMIT stops them, but no later than at twice as many.

    A jump that stays where it is shows another way through the code, such as that of an error.
    From one statement to two, that is all that such a jump can show.

    Args:
        control: The statements without copies.
        one: The statements with one copy of each row.
        three: The statements with three copies.
        limited: Whether a statement of the call has a LIMIT.
    """
    stopped = limited and 2 <= control < one == three <= 2 * control
    return control < one < three or stopped


def is_steady(growth: Growth, control: Tally, again: Tally) -> bool:
    """Whether two runs without copies sent the same number of the statements that grew."""
    counts = (each.most.get(growth.line, {}).get(growth.call, 0) for each in (control, again))
    return len(set(counts)) == 1


def strongest(found: Sequence[Growth]) -> list[Growth]:
    """Of several sets of rows, the one that shows most of each finding."""
    best: dict[object, Growth] = {}
    for each in found:
        known = best.get(each.finding.key)
        if known is None or (each.three, -each.control) > (known.three, -known.control):
            best[each.finding.key] = each
    return list(best.values())
