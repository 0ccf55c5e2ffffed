"""The clock that components take as an argument, so that tests can replace it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current moment as an aware datetime in UTC."""
    return datetime.now(UTC)
