"""What a function takes first: an engine, a connection or a session, plain or async."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from querygrowth.counting.engine import AnyEngine

Function = Callable[..., object]

ENGINE, CONNECTION, SESSION = "engine", "connection", "session"


def opened(engine: AnyEngine, kind: str) -> Any:
    """A context manager, plain or async as the engine is, whose value a function takes first.

    Args:
        engine: Leads to the database.
        kind: `CONNECTION` or `SESSION`.
    """
    if kind == CONNECTION:
        return engine.connect()
    if is_async_engine(engine):
        from sqlalchemy.ext.asyncio import AsyncSession

        return AsyncSession(engine)  # type: ignore[arg-type]
    return Session(engine)  # type: ignore[arg-type]


def is_async_engine(engine: object) -> bool:
    """Whether this is an AsyncEngine."""
    return hasattr(engine, "sync_engine")


def signature_of(function: Function) -> inspect.Signature | None:
    """The signature of a function; None where it has none, as some written in C."""
    with suppress(TypeError, ValueError):
        return inspect.signature(function)
    return None


def first_argument(function: Function) -> str:
    """What a function takes first, by the annotation or the name: engine, connection or session."""
    signature = signature_of(function)
    for parameter in signature.parameters.values() if signature else ():
        annotation = parameter.annotation
        shown = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        for words in (str(shown).lower(), parameter.name.lower()):
            if ENGINE in words:
                return ENGINE
            for kind in (SESSION, CONNECTION):
                if kind in words:
                    return kind
            if words in {"db", "s"}:
                return SESSION
            if words == "conn":
                return CONNECTION
        break
    return ENGINE


def is_async(function: Function | None) -> bool:
    """Whether a function is asynchronous, or takes an async engine, connection or session."""
    if function is None:
        return False
    bare = function.func if isinstance(function, partial) else function
    called = vars(type(bare)).get("__call__")
    if any(map(inspect.iscoroutinefunction, (bare, called))) or inspect.isasyncgenfunction(bare):
        return True
    signature = signature_of(function)
    annotations = [p.annotation for p in signature.parameters.values()] if signature else []
    return any("Async" in str(getattr(each, "__name__", each)) for each in annotations)
