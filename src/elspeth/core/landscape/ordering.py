"""Text order that is the same on every backend: byte by byte."""

from typing import Any

from sqlalchemy import ColumnElement, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


def bytewise(column: ColumnElement[str]) -> ColumnElement[str]:
    """Compare a text column by its UTF-8 bytes, in ORDER BY or in a comparison.

    SQLite does so already (BINARY). PostgreSQL follows the database's collation unless told
    otherwise, and only there is `COLLATE "C"` emitted.
    """
    return _Bytewise(column)


class _Bytewise(FunctionElement[str]):
    inherit_cache = True
    type = String()


@compiles(_Bytewise)
def _as_it_is(element: _Bytewise, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Bytewise, "postgresql")
def _collated(element: _Bytewise, compiler: SQLCompiler, **options: Any) -> str:
    return f'{compiler.process(element.clauses, **options)} COLLATE "C"'
