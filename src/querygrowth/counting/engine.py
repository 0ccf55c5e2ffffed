"""Find the SQLAlchemy engines that a value leads to."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidRequestError


class WrappedEngine(Protocol):
    """The part of SQLAlchemy's AsyncEngine that is used here: an engine around an Engine."""

    @property
    def sync_engine(self) -> Engine:
        """The engine inside, which fires the events."""

    def connect(self) -> Any:
        """An async context manager that yields an AsyncConnection."""


AnyEngine: TypeAlias = Engine | WrappedEngine
Answer = TypeVar("Answer")

# A function may return another one that returns a session.
_MOST_CALLS = 3
_CLASSES = {
    "sqlalchemy": ("Connection",),
    "sqlalchemy.orm": ("Session", "sessionmaker", "scoped_session"),
    "sqlalchemy.ext.asyncio": (
        *("AsyncConnection", "AsyncSession"),
        *("async_sessionmaker", "async_scoped_session"),
    ),
    "flask_sqlalchemy": ("SQLAlchemy",),
}
# Where an object of a class that is not known keeps its engine.
_ATTRIBUTES = ("engine", "bind", "session", "connection", "session_factory", "db")


def is_engine(value: object) -> TypeGuard[AnyEngine]:
    """Whether `value` is an Engine or an AsyncEngine."""
    # SQLAlchemy's asyncio part needs greenlet, which a project without async engines may lack.
    # A project that has an AsyncEngine has imported that part.
    async_part = sys.modules.get("sqlalchemy.ext.asyncio")
    kinds = (Engine,) if async_part is None else (Engine, async_part.AsyncEngine)
    # By the real class: a mock with a specification claims to be an instance of its class.
    return issubclass(type(value), kinds)


def engines_of(value: object, *, call: bool = True) -> tuple[AnyEngine, ...] | None:
    """The engines that a value leads to, each once.

    These are accepted, plain or async:

    - an engine, with `execution_options` or without
    - a connection, a session, a scoped session
    - what makes sessions (`sessionmaker`), and Flask-SQLAlchemy's `db`
    - a function, or an object with `__call__`, without arguments that returns or yields one of
      them; it is called, a generator is closed after its first value, and a context manager that it
      returns is entered and left
    - another object with one of them as its attribute, such as `engine`, `bind` or `session`

    Args:
        value: What leads to engines.
        call: Whether a function may be called.

    Returns:
        At least one engine. None stands for all engines of the process: a session whose class has
        a `get_bind` may choose another engine for every statement.

    Raises:
        ValueError: The value leads to no engine.
    """
    return _found(value, calls=0 if call else _MOST_CALLS)


def sync_engines(values: Iterable[object]) -> tuple[Engine, ...] | None:
    """The engines that several values lead to, without their async parts, each once.

    Returns:
        The engines; None for all engines of the process.

    Raises:
        ValueError: A value leads to no engine.
    """
    found: dict[int, Engine] = {}
    for value in values:
        engines = engines_of(value)
        if engines is None:
            return None
        for each in engines:
            plain = _plain(each)
            found[id(plain)] = plain
    return tuple(found.values())


def sync_engine(value: object) -> Engine:
    """The one engine that a value leads to: an Engine itself, or the one inside an AsyncEngine.

    Raises:
        ValueError: The value leads to no engine, or to several.
    """
    return _plain(single_engine(value))


def single_engine(value: object) -> AnyEngine:
    """The one engine that a value leads to, as the value has it: plain or async.

    Raises:
        ValueError: The value leads to no engine, or to several.
    """
    engines = engines_of(value)
    if engines is None or len(engines) > 1:
        raise ValueError(
            f"one engine is needed here, and the {type(value).__name__} uses several: "
            "pass the engine itself"
        )
    return engines[0]


def populated_engines(value: object) -> tuple[AnyEngine, ...]:
    """The engines of what `populate` returned: those of the value, or of a list of values.

    The first value of a list has to lead to an engine. The others may be of any kind.

    Raises:
        ValueError: The value leads to no engine, or its engines are not known.
    """
    values = [*value] if isinstance(value, tuple | list) and value else [value]
    engines = engines_of(values[0])
    if engines is None:
        raise ValueError(
            f"the {type(values[0]).__name__} chooses the engine for each statement: return a list "
            "with its engines first, such as [primary, replica, Session], and the action gets the "
            "list"
        )
    return tuple(dict.fromkeys((*engines, *filter(is_engine, values[1:]))))


def _plain(engine: AnyEngine) -> Engine:
    plain: Any = engine if isinstance(engine, Engine) else engine.sync_engine
    # SQLAlchemy 2.0 refuses listeners of an engine whose options were added to those of another
    # one. That other engine fires the events as well.
    while hasattr(plain, "_proxied") and not _takes_listeners(plain):
        plain = plain._proxied
    found: Engine = plain
    return found


def _takes_listeners(engine: Engine) -> bool:
    try:
        event.contains(engine, "begin", _takes_listeners)
    except InvalidRequestError:
        return False
    return True


def _found(value: object, calls: int) -> tuple[AnyEngine, ...] | None:
    # werkzeug's proxies, such as an application keeps for the current session.
    current = getattr(type(value), "_get_current_object", None)
    if current is not None:
        value = _answer(value, lambda: current(value))
    if _is_session_or_engine(value):
        return _of_known(value)
    if isinstance(value, type):
        raise ValueError(
            f"expected an SQLAlchemy Engine, got the class {value.__name__}: pass an object of it"
        )
    if inspect.isroutine(value) or isinstance(
        value, functools.partial | functools._lru_cache_wrapper
    ):
        return _of_function(value, calls)
    for name in _ATTRIBUTES:
        held = None
        with suppress(Exception):  # a property of the user may raise anything
            held = getattr(value, name, None)
        if _is_session_or_engine(held):
            return _of_known(held)
    attributes: list[object] = []
    with suppress(Exception):  # some classes compute it
        attributes += getattr(value, "__dict__", {}).values()
    if held_ones := [*filter(_is_session_or_engine, attributes)]:
        return _of_several(held_ones)
    if type(value).__module__ == "unittest.mock":  # a call returns another mock
        raise ValueError(_refusal(value))
    if callable(value) and calls < _MOST_CALLS:
        return _of_function(type(value).__call__.__get__(value), calls)
    raise ValueError(_refusal(value))


def _refusal(value: object) -> str:
    kind = type(value).__name__
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return f"expected an SQLAlchemy Engine, got {kind}: pass the function without calling it"
    if inspect.isawaitable(value):
        return f"expected an SQLAlchemy Engine, got {kind}: await it, or pass the function"
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return (
            f"expected an SQLAlchemy Engine, got {kind}: pass the engines one by one, as in "
            "count_queries(primary, replica)"
        )
    if isinstance(value, str) or kind == "URL":
        return f"expected an SQLAlchemy Engine, got {kind}: pass what create_engine() returned"
    return (
        "expected an SQLAlchemy Engine, or a connection, session or sessionmaker that leads to "
        f"one, got {kind}"
    )


def _is_session_or_engine(value: object) -> bool:
    """Whether a value is an object of SQLAlchemy's or Flask-SQLAlchemy's that has engines."""
    # By the real class: a mock with a specification claims to be an instance of its class. An
    # object of a class exists only if its module was imported.
    kinds = tuple(
        getattr(sys.modules[module], name)
        for module, names in _CLASSES.items()
        if module in sys.modules
        for name in names
        if hasattr(sys.modules[module], name)
    )
    return is_engine(value) or issubclass(type(value), kinds)


def _of_known(value: Any) -> tuple[AnyEngine, ...] | None:
    if is_engine(value):
        return (value,)
    if _is_flask(value):
        return _of_flask(value)
    if hasattr(value, "session_factory"):  # a scoped session
        # Asking a scoped session for its session would make one that the user's code then gets.
        with suppress(RuntimeError):  # its scope, such as a task or a request, may not exist here
            if value.registry.has():
                return _of_session(value.registry())
        return _of_session(_answer(value, value.session_factory))
    if hasattr(value, "kw"):  # a sessionmaker; a session does not connect before it is used
        return _of_session(_answer(value, value))
    if hasattr(value, "engine"):  # a connection
        return (value.engine,)
    return _of_session(value)


def _of_several(values: Iterable[object]) -> tuple[AnyEngine, ...] | None:
    found: dict[int, AnyEngine] = {}
    for value in values:
        engines = _of_known(value)
        if engines is None:
            return None
        found.update((id(each), each) for each in engines)
    return tuple(found.values())


def _is_flask(value: object) -> bool:
    """Whether a value is the `SQLAlchemy` object of Flask-SQLAlchemy."""
    module = sys.modules.get("flask_sqlalchemy")
    return module is not None and issubclass(type(value), module.SQLAlchemy)


def _of_flask(database: Any) -> tuple[AnyEngine, ...]:
    engines = _answer(database, lambda: database.engines)
    return tuple(engines.values())


def _of_session(session: Any) -> tuple[AnyEngine, ...] | None:
    if not hasattr(session, "get_bind"):
        raise ValueError(_refusal(session))
    plain = getattr(session, "sync_session", session)
    if _is_flask(getattr(plain, "_db", None)):
        return _of_flask(plain._db)
    # SQLAlchemy's ShardedSession, whose get_bind chooses one of them.
    if shards := getattr(plain, "_ShardedSession__shards", None):
        return tuple({id(each.engine): each.engine for each in shards.values()}.values())
    if type(plain).get_bind is not sys.modules["sqlalchemy.orm"].Session.get_bind:
        return None
    # SQLAlchemy shows the binds of a session since 2.1.
    binds = getattr(plain, "binds", None) or getattr(plain, "_Session__binds", None)
    by_class = binds.values() if isinstance(binds, Mapping) else ()
    engines = {id(each.engine): each.engine for each in (plain.bind, *by_class) if each is not None}
    if not engines:
        raise ValueError(
            f"the {type(session).__name__} has no engine: it was made without bind and binds"
        )
    # The async engine of an AsyncSession is better known to its user than the one inside.
    bind = getattr(session, "bind", None)
    if session is not plain and len(engines) == 1 and is_engine(bind):
        return (bind,)
    return tuple(engines.values())


def _of_function(function: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__call__":
        name = type(function.__self__).__name__
    if calls == _MOST_CALLS:
        raise ValueError(f"expected an SQLAlchemy Engine, got the function {name}")
    _check_callable_without_arguments(function, name)
    # A function with @contextmanager around it has the generator function inside.
    bare = inspect.unwrap(function)
    if inspect.isgeneratorfunction(bare):
        return _answer(function, lambda: _of_first(bare(), calls))
    if inspect.isasyncgenfunction(bare):
        return _answer(function, lambda: _in_loop(lambda: _of_first_async(bare(), calls)))
    if inspect.iscoroutinefunction(bare):
        return _answer(function, lambda: _in_loop(lambda: _of_awaited(bare(), calls)))
    returned: Any = _answer(function, function)
    if _is_session_or_engine(returned):
        return _of_known(returned)
    if hasattr(returned, "__enter__") and hasattr(returned, "__exit__"):
        return _answer(function, lambda: _of_entered(returned, calls))
    if hasattr(returned, "__aenter__") and hasattr(returned, "__aexit__"):
        return _answer(function, lambda: _in_loop(lambda: _of_entered_async(returned, calls)))
    return _found(returned, calls + 1)


def _check_callable_without_arguments(function: Any, name: str) -> None:
    try:
        inspect.signature(function).bind()
    except TypeError as missing:
        raise ValueError(
            f"cannot call {name}() to find its engine: {missing}; pass the engine itself"
        ) from None
    except ValueError:
        pass  # a built-in function without a signature


def _of_first(generator: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    try:
        return _found(next(generator), calls + 1)
    finally:
        generator.close()


async def _of_first_async(generator: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    try:
        return _found(await generator.__anext__(), calls + 1)
    finally:
        await generator.aclose()


def _of_entered(context: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    with context as entered:
        return _found(entered, calls + 1)


async def _of_entered_async(context: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    async with context as entered:
        return _found(entered, calls + 1)


async def _of_awaited(awaitable: Any, calls: int) -> tuple[AnyEngine, ...] | None:
    return _found(await awaitable, calls + 1)


def _in_loop(make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a coroutine to its end in an event loop of a new thread; this one may run a loop."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="querygrowth") as thread:
        return thread.submit(lambda: asyncio.run(make())).result()


def _answer(value: object, ask: Callable[[], Answer]) -> Answer:
    """What the user's code answers. Its exception becomes one line about the value."""
    try:
        return ask()
    except ValueError as refused:
        raise ValueError(str(refused)) from refused
    except Exception as error:
        name = getattr(value, "__name__", type(value).__name__)
        first_line = (str(error).strip() or "no message").splitlines()[0]
        raise ValueError(
            f"cannot find the engine of {name}: {type(error).__name__}: {first_line}"
        ) from error
