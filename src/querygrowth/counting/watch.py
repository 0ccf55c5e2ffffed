"""Run an action, plain or async, on an engine and record what it did."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest import SkipTest

from querygrowth.counting.activity import Activity, activity_of_record
from querygrowth.counting.engine import AnyEngine
from querygrowth.counting.record import record
from querygrowth.places.call_sites import Project

Action = Callable[..., object]
T = TypeVar("T")

_OTHER_LOOP = (
    "it uses something that was made in another event loop: make the engine inside of populate"
)
# What errors about event loops mean here, by a part of their message.
_HINTS = {
    "no running event loop": "it uses asyncio outside of an event loop: write it as `async def`, "
    "and it is awaited",
    "cannot be called from a running event loop": "it starts an event loop inside of the one that "
    "it runs in: write it as `async def` and await the coroutine",
    "this event loop is already running": "it runs an event loop that runs already: write it as "
    "`async def` and await the coroutine",
    "different loop": _OTHER_LOOP,
    "event loop is closed": _OTHER_LOOP,
    "greenlet_spawn has not been called": "something is loaded without await, mostly a lazy load "
    "or an expired attribute: load it in the query (selectinload), or await "
    "obj.awaitable_attrs.name",
    "no such table": "an in-memory SQLite database belongs to one thread, and a web client asks in "
    "another one: make the engine with poolclass=StaticPool and "
    "connect_args={'check_same_thread': False}, or create the tables in populate",
}


class StepError(RuntimeError):
    """`populate` or the action raised. What it raised is the cause (`__cause__`)."""


@dataclass(frozen=True)
class NamedStep:
    """A block that names the step and the sizes in front of an exception of the user's code.

    It raises `StepError` from that exception. One that skips the test is left as it is.

    Args:
        step: What runs inside the block, such as "populate".
        axis: The axis that is measured.
        sizes: The size of every axis.
    """

    step: str
    axis: str
    sizes: Mapping[str, int]

    # A class, because contextmanager() would show its own frames in the traceback.

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: object
    ) -> None:
        __tracebackhide__ = True
        if isinstance(error, Exception) and not isinstance(error, SkipTest | StepError):
            raise StepError(self._message(error)) from error

    def _message(self, error: Exception) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        words = str(error).strip()
        reason = ": ".join(filter(None, (type(error).__name__, words.partition("\n")[0])))
        hints = (hint for part, hint in _HINTS.items() if part in words.lower())
        hint = next((f"\n  {hint}" for hint in hints), "")
        return f"{self.step} failed at {sizes} (axis {self.axis}): {reason}{hint}"


def outside_event_loop(function: Callable[[], T]) -> T:
    """Call `function` where it may start an event loop: in a new thread if this one runs a loop."""
    __tracebackhide__ = True
    # Not called inside of an `except`: its errors would show "no running event loop" before theirs.
    if not _runs_event_loop():
        return function()
    # Python allows one running event loop in a thread, and an async test runs in that of this one.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="querygrowth") as thread:
        return thread.submit(function).result()


def _runs_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


if sys.version_info >= (3, 11):
    from asyncio import Runner
else:

    class Runner:
        """The part of `asyncio.Runner`, new in Python 3.11, that `ActionRunner` uses."""

        def __enter__(self) -> "Runner":
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            return self

        def run(self, coroutine: Coroutine[object, object, T]) -> T:
            """The coroutine's result, on the one event loop."""
            return self._loop.run_until_complete(coroutine)

        def __exit__(self, *_error: object) -> None:
            try:
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                self._loop.close()


def _same(value: Any) -> Callable[[], Any]:
    return lambda: value


@contextmanager
def action_runner() -> Iterator["ActionRunner"]:
    """Yield an ActionRunner that uses one event loop for the whole block."""
    # One loop for all: an async engine is bound to the loop in which it was first used.
    with Runner() as loop:
        yield ActionRunner(loop)


class ActionRunner:
    """Calls plain and async functions alike. Results that can be awaited run on its event loop."""

    def __init__(self, loop: Runner) -> None:
        self._loop = loop

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> object:
        """Call the function and return its result, which is awaited if possible."""
        __tracebackhide__ = True
        result = function(*args, **kwargs)
        return self.wait_for(result) if inspect.isawaitable(result) else result

    @contextmanager
    def entered(self, resource: object) -> Iterator[object]:
        """Enter a context manager, async or not, and yield its value; yield anything else.

        A generator, async or not, is a context manager without its decorator, as a fixture is.
        """
        if inspect.isgenerator(resource):
            resource = contextmanager(_same(resource))()
        elif inspect.isasyncgen(resource):
            resource = asynccontextmanager(_same(resource))()
        if isinstance(resource, AbstractContextManager):
            with resource as value:
                yield value
        elif isinstance(resource, AbstractAsyncContextManager):
            value = self.wait_for(resource.__aenter__())
            try:
                yield value
            finally:
                self.wait_for(resource.__aexit__(None, None, None))
        else:
            yield resource

    def wait_for(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable."""
        __tracebackhide__ = True

        # A runner takes a coroutine only, and an awaitable may be another object.
        async def result() -> T:
            return await awaitable

        return self._loop.run(result())


def watch(
    action: Action,
    engine: AnyEngine,
    *,
    runner: ActionRunner,
    work: Iterable[str] = (),
    project: Project | None = None,
    all_connections: bool = False,
    every_engine: bool = False,
    others: Sequence[AnyEngine] = (),
) -> Activity:
    """Run `action(engine)` once and record what it did.

    Args:
        action: A plain or async function of the engine.
        engine: The engine that is counted.
        runner: Calls the action.
        work: Deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`).
        project: The user's own files; default: those below the working directory.
        all_connections: Whether statements on connections that the engine did not make are
            bypasses too; see `trace_driver`.
        every_engine: Whether the statements of other engines count too; see `record`.
        others: Further engines on the data that the action was given; see `record`.

    Raises:
        ValueError: The engine cannot count a kind of work. The action has not run.
    """
    __tracebackhide__ = True

    def run() -> object:
        __tracebackhide__ = True
        return runner.call(action, engine)

    return activity_of_record(
        record(
            run,
            engine,
            work=work,
            project=project,
            all_connections=all_connections,
            every_engine=every_engine,
            others=others,
        )
    )
