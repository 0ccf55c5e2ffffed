"""Injection of one fault into an export, and the assertions that have to hold afterwards.

An export survives a fault when all of this holds:

(a) its target is absent, or holds what it held before, or is complete and verifies;
(b) export_status is not `completed` beside a target that does not verify;
(c) the evidence is unchanged: all columns of all tables except those about the export;
(d) another export without the fault gives the bytes of an undisturbed one;
(e) neither a key nor a traceback is printed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from audit_trail import Content, Recorded, Trail
from fault_table import LostError
from landscape_command import KEY, Ended

ANY = "any"
PREVIOUS = "previous"
COMPLETE = "complete"


@dataclass(frozen=True)
class Outcome:
    """The expected end of an export under a fault. ANY means that it depends on the moment."""

    code: int | str
    target: str
    """PREVIOUS (absent if there was none), COMPLETE, or ANY."""
    status: str | None
    """The export_status of the run."""
    message: str = ""
    """A part of the error, on stderr and in export_error."""
    may_leave: bool = False
    """Whether unfinished files may remain. Only a killed process cannot remove them."""


IO_FAILURE = Outcome(3, PREVIOUS, "failed")
"""Input, output or database failed. Nothing was published, and the status says so."""
CORRUPT_DATA = Outcome(4, PREVIOUS, "failed", "Audit integrity violation")
"""Audit data is corrupt. Nothing was published, and the error names the place."""
REFUSED = Outcome(2, PREVIOUS, None)
"""Wrong usage, found before anything was recorded."""
UNCONFIRMED = Outcome(5, COMPLETE, "pending")
"""Published, but not known to be recorded or durable."""
KILLED = Outcome(-9, ANY, ANY, may_leave=True)
"""Ended by SIGKILL at any moment."""
SUCCEEDED = Outcome(0, COMPLETE, "completed")
"""The export succeeded in spite of the fault."""


@dataclass
class Injection:
    """One fault, and the state of the trail before it."""

    trail: Trail
    evidence: str
    content: Content | None
    is_judged: bool = False

    def accept_change(self) -> None:
        """Expect the present evidence from now on, after a change by the test."""
        self.evidence = self.trail.evidence()

    def repair(self, put_back: Callable[[], None]) -> None:
        """Undo the test's change to the database, and expect the evidence after that."""
        put_back()
        self.accept_change()

    def assert_survived(
        self, ended: Ended, outcome: Outcome, *, repair: Callable[[], None] | None = None
    ) -> None:
        """Assert (a) to (e) and the outcome. `repair` makes an export possible again for (d)."""
        self.assert_intact(ended, outcome)
        if repair is not None:
            repair()
        self.assert_exportable_again()

    def assert_intact(self, ended: Ended, outcome: Outcome) -> None:
        """Assert the outcome and all but (d), for a test that continues before (d)."""
        self.is_judged = True
        trail = self.trail
        complete = trail.is_complete()
        self._assert_nothing_lost(complete)
        recorded = trail.recorded()
        assert recorded.status != "completed" or complete, recorded
        assert_clean_output(ended, *trail.secrets)
        if outcome.code != ANY:
            assert ended.code == outcome.code, ended
        if outcome.target == PREVIOUS:
            assert trail.content() == self.content
        elif outcome.target == COMPLETE:
            assert complete, trail.content()
        if outcome.status != ANY:
            assert recorded.status == outcome.status, (recorded, ended)
        if recorded.status == "failed":
            assert recorded.error
            assert outcome.message in recorded.error
        assert outcome.message in ended.err
        if not outcome.may_leave:
            assert trail.unfinished() == []

    def assert_exportable_again(self) -> None:
        """Assert (d): an export without the fault is complete and leaves no unfinished files."""
        ended = self.trail.export()
        assert (ended.code, ended.err) == (0, "")
        assert self.trail.is_complete(), self.trail.content()
        assert self.trail.recorded() == Recorded("completed", None)
        assert self.trail.unfinished() == []
        assert self.trail.evidence() == self.evidence

    def _assert_nothing_lost(self, complete: bool) -> None:
        content = self.trail.content()
        if content is not None and content != self.content and not complete:
            raise LostError(f"(a) {self.trail.target} is torn: {content}")
        # A killed export may have moved a directory aside; the next export finishes or undoes that.
        if self.content is not None and content is None and not self.trail.unfinished():
            raise LostError(f"(a) {self.trail.target} is gone")
        if self.trail.evidence() != self.evidence:
            raise LostError("(c) the evidence has changed")


@contextmanager
def inject_fault(trail: Trail) -> Iterator[Injection]:
    """Count one fault, and keep the state of a trail before it.

    The block has to call `assert_survived` or `assert_intact` of the injection it gets.
    """
    with trail.tally.injection():
        injection = Injection(trail, trail.evidence(), trail.content())
        yield injection
        assert injection.is_judged, "nothing was asserted about the outcome of the fault"


def assert_clean_output(ended: Ended, *secrets: str) -> None:
    """Assert (e): at most one line of error, no key and no other secret, no traceback."""
    printed = ended.out + ended.err
    assert "Traceback" not in printed, printed
    for secret in (KEY, *secrets):
        assert secret not in printed
    assert ended.err == "" or ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") <= 1, ended.err
