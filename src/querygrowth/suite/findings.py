"""Findings: the patterns of all tests, merged by place."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from querygrowth.places.call_sites import CallSite
from querygrowth.suite.rules import RULES, Level

_SHOWN_TESTS = 3


@dataclass(frozen=True)
class Finding:
    """A pattern at one place.

    Attributes:
        rule: The name of the rule.
        about: The relationship, the attributes, or the statement without its columns and values.
        table: The table that the statements are about.
        place: Where they were sent, as `path::function` relative to the root.
        loop: The same for the loop around them, where it is in another function; may be empty.
        level: What the finding does.
        in_test_code: Whether the statements were sent by test code itself.
        most: The most statements in one call.
        site: The line that sent them.
        loop_site: The line of the loop, where it is in another function.
        evidence: Where the parents were loaded, and the callers, in words.
        fix: What to write instead.
        tests: The first tests that show it.
        test_count: How many tests show it.
        proven_by: The tests that prove with `query_growth` that these statements grow.
    """

    rule: str
    about: str
    table: str
    place: str
    loop: str
    level: Level
    in_test_code: bool
    most: int
    site: CallSite
    loop_site: CallSite | None
    evidence: tuple[str, ...]
    fix: str
    tests: tuple[str, ...] = ()
    test_count: int = 1
    proven_by: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same when lines move: rule, place, loop, and what it is about."""
        return (self.rule, self.place, self.loop, self.about)

    @property
    def title(self) -> str:
        """The finding in one line, without its place."""
        rule = RULES[self.rule]
        count = f", {self.most} in one call" if rule.threshold > 1 else ""
        return f"{self.rule}: {self.about}{count}"

    def to_plain(self) -> dict[str, Any]:
        """The finding as values that JSON and execnet can carry."""
        return {**asdict(self), "level": str(self.level)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Finding":
        """Build the finding that another process sent."""
        loop = values["loop_site"]
        return cls(
            **{
                **values,
                "level": Level(values["level"]),
                "site": CallSite(**values["site"]),
                "loop_site": CallSite(**loop) if loop else None,
                **{name: tuple(values[name]) for name in ("evidence", "tests", "proven_by")},
            }
        )


@dataclass
class Findings:
    """The findings of a run, each place once. Its size depends on the places, not on the tests."""

    by_key: dict[tuple[str, str, str, str], Finding] = field(default_factory=dict)

    def add(self, found: Iterable[Finding], test: str) -> None:
        """Add what one test showed.

        Args:
            found: Its findings.
            test: The node ID of the test.
        """
        for finding in found:
            known = self.by_key.get(finding.key)
            if known is None:
                self.by_key[finding.key] = replace(finding, tests=(test,))
                continue
            most = max(known, finding, key=lambda each: each.most)
            tests = known.tests
            new = test not in tests
            self.by_key[finding.key] = replace(
                most,
                tests=(*tests, test) if new and len(tests) < _SHOWN_TESTS else tests,
                test_count=known.test_count + 1,
                level=max(known.level, finding.level, key=list(Level).index),
                in_test_code=known.in_test_code and finding.in_test_code,
            )

    def __iter__(self) -> Iterator[Finding]:
        """Yield the findings: those of the application first, then by rule, by count, by place."""
        order = list(RULES)
        yield from sorted(
            self.by_key.values(),
            key=lambda each: (
                each.in_test_code,
                order.index(each.rule),
                -each.most,
                each.place,
                each.loop,
                each.about,
            ),
        )

    def __len__(self) -> int:
        return len(self.by_key)
