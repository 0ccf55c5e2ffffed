"""`allow_queries`: a block whose statements the suite report does not judge."""

import inspect
from collections.abc import Callable
from functools import wraps
from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# The blocks that were entered while a test was watched, as times of beginning and end. Statements
# have the time at which they were sent, so that nothing is done for a statement inside a block.
_blocks: list[list[float]] = []
_ENDLESS = float("inf")


class allow_queries:  # noqa: N801  # it is used like a function
    """Leave the statements of a block out of the suite report (`pytest --queries`).

    It is a context manager, sync and async, and a decorator of functions. Without `--queries` it
    does nothing. Statements that other threads send at the same time are left out too.

    Args:
        reason: Why the statements are right as they are.

    Raises:
        ValueError: There is no reason.
    """

    def __init__(self, reason: str) -> None:
        given: object = reason
        if not isinstance(given, str) or not given.strip():
            raise ValueError(
                f"allow_queries needs a reason, such as allow_queries('at most 3'), got {reason!r}"
            )
        self.reason = reason
        self._open: list[list[float]] = []

    def __enter__(self) -> "allow_queries":
        block = [perf_counter(), _ENDLESS]
        self._open.append(block)
        _blocks.append(block)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = self._open.pop()
        block[1] = perf_counter()
        if not is_watched():
            _blocks[:] = [each for each in _blocks if each is not block]

    async def __aenter__(self) -> "allow_queries":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Allow the statements of a function.

        Args:
            function: A function, a coroutine function or a generator function.

        Raises:
            TypeError: It is an async generator function.
        """
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with allow_queries(self.reason):
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def generated(*args: Any, **kwargs: Any) -> Any:
                with allow_queries(self.reason):
                    return (yield from function(*args, **kwargs))

            return generated  # type: ignore[return-value]
        if inspect.isasyncgenfunction(function):
            raise TypeError("allow_queries cannot decorate an async generator: use it as a block")

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with allow_queries(self.reason):
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]


_watchers = [0]


def is_watched() -> bool:
    """Whether the statements of a test are watched now."""
    return _watchers[0] > 0


def begin_blocks() -> None:
    """Keep the blocks that end from now on. A test that runs pytest may watch in its turn."""
    _watchers[0] += 1


def end_blocks() -> None:
    """Forget the blocks that have ended, once nothing is watched."""
    _watchers[0] -= 1
    if not is_watched():
        _blocks[:] = [each for each in _blocks if each[1] == _ENDLESS]


def is_allowed(sent_at: float) -> bool:
    """Whether a statement was sent inside of a block.

    Args:
        sent_at: The time of `perf_counter`.
    """
    return any(start <= sent_at <= end for start, end in _blocks)
