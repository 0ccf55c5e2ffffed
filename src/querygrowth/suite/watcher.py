"""Watch the bodies of tests, one after another, on every engine of the process."""

from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event

from querygrowth.counting.every_engine import EveryEngine
from querygrowth.counting.listener import attached
from querygrowth.counting.log import log_of_every_engine
from querygrowth.places.call_sites import Callers, Project
from querygrowth.places.off_stack import waiting_greenlets
from querygrowth.places.stack import StackWalker
from querygrowth.suite.allowed import begin_blocks, end_blocks
from querygrowth.suite.eager_loads import noted_reads
from querygrowth.suite.findings import Finding
from querygrowth.suite.patterns import patterns_in
from querygrowth.suite.records import lines_of_record
from querygrowth.suite.rules import UNUSED_EAGER_LOAD, Level
from querygrowth.suite.settings import Settings
from querygrowth.suite.trails import TestBody, TestFiles


@dataclass(frozen=True)
class Watched:
    """What one test showed.

    Attributes:
        found: The findings.
        queries: The number of queries.
        record: The statements with their counts; None if they were not asked for.
        used: The keys of eager loads whose relationship the test has read.
    """

    found: list[Finding]
    queries: int
    record: list[str] | None
    used: Sequence[tuple[str, ...]]


# In the threads and tasks that a test starts, the test is not on the stack. A request that a test
# client runs there has its own context.
_call: ContextVar[object] = ContextVar("querygrowth_call")


class CallWalker(StackWalker):
    """Walks the stack, and notes which call of the application it belongs to.

    Args:
        project: Decides which files are the user's own.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.begin(TestBody(None))

    def begin(self, body: TestBody) -> None:
        """Forget the calls, together with the statements that they belong to.

        Args:
            body: The function of the test that begins.
        """
        self.body = body
        self._calls: dict[int, object] = {}
        # By the function that a server gives to an application for one request.
        self._requests: WeakKeyDictionary[object, object] = WeakKeyDictionary()

    def call_of(self, callers: Callers) -> object:
        """The call that a statement belongs to; None where a test made it without a request."""
        return self._calls.get(id(callers))

    def callers(self, frame: FrameType | None) -> Callers:
        """Find the callers of a statement; see `StackWalker.callers`."""
        found = super().callers(frame)
        if found.chain:
            if self.body.is_on(found.chain):
                call = self._request(frame)
            elif (call := _call.get(None)) is None:
                _call.set(call := object())
            if call is not None:
                self._calls[id(found)] = call
        return found

    def _request(self, frame: FrameType | None) -> object:
        """The outermost request of WSGI or ASGI on the stack; None without any."""
        # A client that follows redirects makes several requests for one call of the test.
        answer: object = None
        for innermost in (frame, *waiting_greenlets()):
            outer = innermost
            while outer is not None:
                if name := _answer_of_request(outer.f_code):
                    answer = outer.f_locals.get(name, answer)
                outer = outer.f_back
        # Every lookup makes a new bound method.
        if not isinstance(answer, FunctionType):
            return None
        return self._requests.setdefault(answer, object())


@cache
def _answer_of_request(code: CodeType) -> str:
    """The argument with which an application answers one request; empty for other functions."""
    arguments = code.co_varnames[: code.co_argcount]
    if "environ" in arguments and "start_response" in arguments:
        return "start_response"
    return "send" if {"scope", "receive", "send"} <= {*arguments} else ""


class Watcher:
    """Records what one test after another sends.

    The listeners stay attached, and are paused between the tests.

    Args:
        project: Decides which files are the user's own.
        settings: The levels and thresholds.
        root: The root of the project.
        test_modules: The names of test modules, as pytest's setting `python_files` has them.
    """

    def __init__(
        self, project: Project, settings: Settings, root: Path, test_modules: Sequence[str]
    ) -> None:
        self._settings = settings
        self._files = TestFiles(root, test_modules)
        self._walker = CallWalker(project)
        self._noting = ExitStack()
        self._reads: set[str] = set()
        self._every = EveryEngine(keep_parameters=True, count_rows=False)
        self._every.pause()
        attached(Engine, self._every.listeners())

    def begin(self, item: Any) -> None:
        """Begin to record.

        Args:
            item: The test, as a `pytest.Item`.
        """
        self._files.add(str(item.path))
        function, fixtures = getattr(item, "function", None), getattr(item, "fixturenames", ())
        self._walker.begin(TestBody(function, fixtures))
        self._reads = set()
        if self._settings.levels[UNUSED_EAGER_LOAD.name] is not Level.OFF:
            self._reads = self._noting.enter_context(noted_reads())
        self._every.begin(self._walker)
        begin_blocks()

    def end(self, *, judged: bool, recorded: bool) -> Watched:
        """End recording, and find the patterns.

        Args:
            judged: Whether patterns are looked for.
            recorded: Whether the statements are asked for.
        """
        self._noting.close()
        try:
            log = log_of_every_engine(self._every)
            found: list[Finding] = []
            if judged:
                walker = self._walker
                found = patterns_in(log, walker.body, self._files, self._settings, walker.call_of)
            texts = (sent.shape.text for sent in log.queries) if recorded else ()
            used = [
                finding.key
                for finding in found
                if finding.rule == UNUSED_EAGER_LOAD.name and finding.about in self._reads
            ]
            return Watched(
                [finding for finding in found if finding.key not in used],
                log.total,
                lines_of_record(texts) if recorded else None,
                used,
            )
        finally:
            # Engines and statements are kept until the next test is over otherwise.
            self._every.pause()
            self._walker.begin(TestBody(None))
            end_blocks()

    def detach(self) -> None:
        """Detach the listeners from all engines."""
        self._noting.close()
        for name, listener in self._every.listeners().items():
            if event.contains(Engine, name, listener):
                event.remove(Engine, name, listener)
