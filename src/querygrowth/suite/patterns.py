"""Find the patterns in what one test sent."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from querygrowth.counting.activity import ShapeActivity
from querygrowth.counting.causes import Cause, Parents, parents_by_number
from querygrowth.counting.execution import Execution
from querygrowth.counting.query import Query
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.statements import NO_TABLE, StatementKind
from querygrowth.fixes.queries import fix_of
from querygrowth.places.call_sites import Callers
from querygrowth.places.orm_loads import Reason
from querygrowth.suite import rules
from querygrowth.suite.allowed import is_allowed
from querygrowth.suite.findings import Finding
from querygrowth.suite.indexes import tables_of_models, unindexed_filters
from querygrowth.suite.rules import Level, Rule
from querygrowth.suite.settings import Settings
from querygrowth.suite.trails import TestBody, TestFiles, Trail, TrailKey, trail_key

T = TypeVar("T")

_BY_REASON: Mapping[str, Rule] = {
    Reason.LAZY: rules.LAZY_LOAD,
    Reason.EXPIRED: rules.REFRESHED_ATTRIBUTE,
    Reason.PARTLY_EXPIRED: rules.REFRESHED_ATTRIBUTE,
    Reason.REFRESHED: rules.REFRESHED_ATTRIBUTE,
    Reason.DEFERRED: rules.DEFERRED_ATTRIBUTE,
    Reason.SUBCLASS: rules.DEFERRED_ATTRIBUTE,
}
_COLUMNS = re.compile(r"\bSELECT (?:DISTINCT )?(?:(?!SELECT ).)*? FROM ")
_LIMIT = re.compile(r"\bLIMIT\b|\bFETCH (?:FIRST|NEXT)\b")
_BY_KEY = re.compile(r"[^<>!]= \?|\? = |\bIN \(|\bIS \?")
# What the database knows of its schema. SQLAlchemy asks for it once per table, as in `reflect()`.
_CATALOGUE = re.compile(
    r"\bsqlite_(?:temp_)?(?:master|schema)\b|\bpg_catalog\b|\binformation_schema\b", re.IGNORECASE
)
_FEW_VALUES = 8  # more values than placeholders in the shape: beyond them, an IN list is a chunk
_VALUES = re.compile(r"(INTO [^\s(]+) ?\(.*$|( SET ).*?(?= WHERE |$)")


@dataclass(frozen=True)
class Sent:
    """A query, and where it came from."""

    query: Query
    trail: Trail
    transaction: object
    parents: Parents | None
    call: object


def unread_queries(
    log: QueryLog, is_judged: Callable[[Callers], bool]
) -> list[tuple[Execution, Callers, QueryLog]]:
    """Return the queries that count, each with its callers and the log that can read it.

    Left out is what continues another statement, and what an `allow_queries` block allows.

    Args:
        log: What a test sent.
        is_judged: Whether a query with these callers counts.
    """
    return [
        (execution, execution.callers, each)
        for execution, each in log.unread
        if execution.kind is StatementKind.QUERY
        and not execution.continued
        and execution.callers is not None
        and is_judged(execution.callers)
        and not is_allowed(execution.started)
    ]


def patterns_in(
    log: QueryLog,
    body: TestBody,
    files: TestFiles,
    settings: Settings,
    call_of: Callable[[Callers], object],
) -> list[Finding]:
    """Find the patterns in what a test sent.

    Args:
        log: What its body sent.
        body: The function of the test.
        call_of: Tells the calls of a test from each other that run in threads or tasks.
        files: Tells test files from others.
        settings: The levels and thresholds.

    Returns:
        The findings, each place once, without the name of the test.
    """
    unread = unread_queries(log, lambda callers: bool(callers.chain))
    # Reading takes much longer than this, and most tests send nothing twice from one line.
    nearest = Counter(trail_key(callers.chain[:1]) for _, callers, _ in unread)
    if max(nearest.values(), default=0) < 2 and not _opted_in(settings):
        return []
    known: dict[TrailKey, Trail] = {}
    trails: list[Trail] = []
    for _, callers, _ in unread:
        key = trail_key(callers.chain)
        if key not in known:
            known[key] = Trail(callers.chain, body, files)
        trails.append(known[key])
    queries = [each.read(number, sent) for number, (sent, _, each) in enumerate(unread, 1)]
    parents = parents_by_number(queries)
    segments = _segments(queries, trails)
    groups: defaultdict[tuple[object, ...], list[Sent]] = defaultdict(list)
    for (execution, callers, each), query, trail, segment in zip(
        unread, queries, trails, segments, strict=True
    ):
        rule = rule_of(query)
        if rule is None or settings.levels[rule.name] is Level.OFF:
            continue
        # A client that follows redirects makes several requests, and all may share a transaction.
        transaction = (id(each), execution.transaction, call_of(callers))
        call = (call_of(callers), segment)
        sent = Sent(query, trail, transaction, parents.get(query.number), call)
        # Objects whose attributes are loaded may be reached on several ways through one line.
        way = trail.key[:1] if query.load and query.load.needs else trail.key
        groups[rule.name, about_of(query, rule), way].append(sent)
    by_number = {query.number: trail for query, trail in zip(queries, trails, strict=True)}
    found: dict[tuple[str, str, str, str], Finding] = {}
    for (name, about, _), group in groups.items():
        most = _most(group, by_number)
        if most >= settings.thresholds[str(name)]:
            finding = finding_of(rules.RULES[str(name)], str(about), group, most, settings)
            before = found.get(finding.key)
            if finding.level is not Level.OFF and (before is None or before.most < most):
                found[finding.key] = finding
    if _opted_in(settings):
        single = [
            Sent(query, trail, None, None, None)
            for query, trail in zip(queries, trails, strict=True)
        ]
        loads = [execution.load for execution, _, _ in unread]
        dialects = [each.dialect for _, _, each in unread]
        found |= {
            finding.key: finding
            for finding in (
                *_unindexed(single, loads, dialects, settings),
                *_eager(single, settings),
            )
            if finding.level is not Level.OFF
        }
    return list(found.values())


def _opted_in(settings: Settings) -> bool:
    return any(
        settings.levels[rule.name] is not Level.OFF for rule in rules.RULES.values() if rule.opt_in
    )


def _unindexed(
    sent: Sequence[Sent], loads: Sequence[Any], dialects: Sequence[str], settings: Settings
) -> Iterator[Finding]:
    """Yield the filters that no index of the models serves."""
    if settings.levels[rules.UNINDEXED_FILTER.name] is Level.OFF:
        return
    tables = tables_of_models(loads)
    for each, dialect in zip(sent, dialects, strict=True):
        for table, columns in unindexed_filters(each.query.shape, dialect, tables):
            about = f"{table} by {', '.join(columns)}"
            finding = finding_of(rules.UNINDEXED_FILTER, about, [each], 1, settings)
            advice = (
                f"no index of {table} begins with {' or '.join(columns)}: add index=True to the "
                "column, or an Index; the database may have an index that the models do not name"
            )
            yield replace(finding, table=table, fix=advice)


def _eager(sent: Sequence[Sent], settings: Settings) -> Iterator[Finding]:
    """Yield the eager loads, each a finding unless the relationship is read."""
    if settings.levels[rules.UNUSED_EAGER_LOAD.name] is Level.OFF:
        return
    for each in sent:
        load = each.query.load
        if load is not None and load.reason == Reason.EAGER:
            finding = finding_of(rules.UNUSED_EAGER_LOAD, load.relationship, [each], 1, settings)
            advice = (
                f"remove the option that loads {load.relationship}, or lazy= of the relationship, "
                "if nothing reads it"
            )
            yield replace(finding, fix=advice)


def rule_of(query: Query) -> Rule | None:
    """The rule that a query falls under if it is repeated; None for one about many items."""
    load = query.load
    if load is not None and load.reason in _BY_REASON:
        return _BY_REASON[load.reason]
    if _is_of_many(query):
        return None
    if query.shape.tables_written:
        return rules.ROW_BY_ROW_WRITE
    # An eager load follows the query whose option asked for it, and a flush reads what it wrote.
    if query.operation != "SELECT" or (load and load.reason in (Reason.EAGER, Reason.FLUSH)):
        return None
    if query.shape.table == NO_TABLE or _CATALOGUE.search(query.shape.text):
        return None
    return rules.REPEATED_STATEMENT


def _is_of_many(query: Query) -> bool:
    """Whether one statement is about many items: it has many values, or fetches a page."""
    text = query.shape.text
    if query.batch_size > 1 or query.parameter_count > text.count("?") + _FEW_VALUES:
        return True
    # The next page begins behind a value. The latest row of an item is selected by its key.
    return has_limit(query) and not _BY_KEY.search(text.partition(" WHERE ")[2])


def has_limit(query: Query) -> bool:
    """Whether a statement fetches so many rows at most."""
    return bool(_LIMIT.search(query.shape.text))


def about_of(query: Query, rule: Rule) -> str:
    """What a query is about: the relationship, the attributes, or the statement in short."""
    load = query.load
    if load is not None and rule is rules.LAZY_LOAD:
        return load.relationship
    if load is not None and load.needs:
        if load.reason in (Reason.EXPIRED, Reason.REFRESHED):
            return load.owner
        return ", ".join(f"{load.owner}.{name}" for name in load.attributes) or load.owner
    return reduced(query.shape.text)


def reduced(text: str) -> str:
    """A statement without its columns, which change with the models, on one line."""
    text = _COLUMNS.sub("SELECT ... FROM ", " ".join(text.split()))
    if text.startswith(("INSERT", "UPDATE", "REPLACE")):
        text = _VALUES.sub(lambda found: found[1] or f"{found[2]}...", text, count=1)
    return text


def _segments(queries: Sequence[Query], trails: Sequence[Trail]) -> list[int]:
    """By query, the number of the call that it probably belongs to.

    A statement outside of all loops is sent once in a call. Sent again, it begins the next call.
    """
    numbers: list[int] = []
    seen: set[object] = set()
    number = 0
    for query, trail in zip(queries, trails, strict=True):
        if trail.loop is None and not (query.load and query.load.needs):
            key = (trail.key, query.shape.text)
            if key in seen:
                number += 1
                seen.clear()
            seen.add(key)
        numbers.append(number)
    return numbers


def _most(group: Sequence[Sent], by_number: Mapping[int, Trail]) -> int:
    """The most statements of a group in one call of the application; 0 if no call is known."""
    ways = [sent for sent in _by_way(group).values() if not _asks_again(sent)]
    group = [sent for way in ways for sent in way]
    most = max(map(_most_of_way, ways), default=0)
    # A statement that loads several parents, and what is loaded for them later, is one call.
    of_parents = Counter(
        (sent.parents and sent.parents.number, *_call_of(sent, by_number))
        for sent in group
        if sent.query.load is not None
        and sent.query.load.needs
        and not sent.trail.body.repeats
        and _is_of_one_call(sent, by_number)
    )
    return max(most, *of_parents.values(), 0)


def _asks_again(group: Sequence[Sent]) -> bool:
    """Whether a `while` loop asks for one thing again, as one that waits for a change does."""
    if group[0].query.operation != "SELECT" or not group[0].trail.only_while:
        return False
    asked = {(sent.call, repr(sent.query.parameters)) for sent in group}
    return len(asked) == len({sent.call for sent in group})


def _by_way(group: Sequence[Sent]) -> Mapping[TrailKey, Sequence[Sent]]:
    ways: defaultdict[TrailKey, list[Sent]] = defaultdict(list)
    for sent in group:
        ways[sent.trail.key].append(sent)
    return ways


def _call_of(sent: Sent, by_number: Mapping[int, Trail]) -> tuple[object, object]:
    """What tells the call of a load from others for the same parents."""
    loaded = by_number.get(sent.parents.number) if sent.parents else None
    # Threads that each load for some of the parents are of the call that loaded these.
    if loaded is not None and _is_in_further_thread(sent.trail, loaded):
        return None, loaded.test_place
    return sent.call, sent.trail.test_place


def _is_in_further_thread(trail: Trail, loaded: Trail) -> bool:
    """Whether a thread loads for objects that the application loaded in the test's own thread."""
    return trail.test_place is None and loaded.test_place is not None and not loaded.in_test_code


def _is_of_one_call(sent: Sent, by_number: Mapping[int, Trail]) -> bool:
    trail = sent.trail
    if trail.loop is not None:
        return True
    if trail.in_test_code:
        return False
    if not trail.may_be_called_again:
        return True
    loaded = by_number.get(sent.parents.number) if sent.parents else None
    return loaded is not None and (
        loaded.test_place == trail.test_place or _is_in_further_thread(trail, loaded)
    )


def _most_of_way(group: Sequence[Sent]) -> int:
    """The same for statements that came the same way."""
    trail = group[0].trail
    if trail.loop is not None:
        if not trail.may_be_called_again:
            return len(group)
        calls = Counter(sent.call for sent in group)
        if len(calls) == 1 and trail.test_place is not None:
            # Nothing outside of the loop tells one call from the next. The loop may only drive a
            # single call, as one that sends values into a generator does. Then the calls of a test
            # differ by their transactions alone.
            return max(Counter(sent.transaction for sent in group).values())
        return max(calls.values())
    if trail.may_be_called_again or trail.in_test_code:
        return 0
    # A library repeats it. It may run several requests for one call of the test.
    return max(Counter(sent.transaction for sent in group).values())


def finding_of(
    rule: Rule, about: str, group: Sequence[Sent], most: int, settings: Settings
) -> Finding:
    """The finding that a group of queries shows.

    Args:
        rule: Their rule.
        about: What they are about.
        group: The queries; the first of the way with the most stands for all.
        most: The most of them in one call.
        settings: The levels.
    """
    # The first of the way with the most stands for the group: the test may send it on another way,
    # one by one. Of equal ways it is the commonest.
    ways = _by_way(group)
    first = max(ways.values(), key=lambda sent: (_most_of_way(sent), len(sent)))[0]
    trail, query = first.trail, first.query
    cause = Cause(
        site=query.site,
        chain=query.callers,
        entry=query.entry,
        load=query.load,
        parents=_commonest(sent.parents for sent in group),
    )
    fix = fix_of(ShapeActivity(query.shape, most, cause=cause), item="item")
    site = trail.site_of(trail.chain[0])
    loop = trail.site_of(trail.loop) if trail.loop is not None else None
    elsewhere = loop is not None and (loop.path, loop.function) != (site.path, site.function)
    in_tests = trail.in_test_code or (rule is rules.ROW_BY_ROW_WRITE and trail.sent_by_tests)
    return Finding(
        rule=rule.name,
        about=about,
        table=query.shape.table,
        place=trail.place_of(site),
        loop=trail.place_of(loop) if loop is not None and elsewhere else "",
        level=settings.level(rule.name, in_test_code=in_tests),
        in_test_code=in_tests,
        most=most,
        site=site,
        loop_site=loop if elsewhere else None,
        evidence=tuple(
            line for line in fix.evidence if not line.startswith(("relationship:", "attributes:"))
        ),
        fix=fix.next_step,
    )


def _commonest(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]
