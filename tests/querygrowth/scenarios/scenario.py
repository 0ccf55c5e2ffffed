"""A scenario: a small program that queries a database well or badly, and how to grow it.

It needs SQLAlchemy only, so that other tools can be run on it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    """A program and how it is measured.

    Attributes:
        name: The scenario's name in tests and tables.
        action: The program. It is called with an engine.
        populate: Makes an engine on a database of the sizes given as keyword arguments.
        finding: A pattern that a failed verdict on a bad program must match; empty for a good one.
        axes: The axes and their base sizes.
        scales: The sizes that are tried on every axis.
        together: The sizes that are tried on all axes at once.
        work: The deterministic counts to take.
        writes: Whether the program may change tables.
        allowed: A table's declared chunk or page, such as `{"items": {"chunk": 500}}`.
    """

    name: str
    action: Callable[..., object]
    populate: Callable[..., object]
    finding: str = ""
    axes: Mapping[str, int] = field(default_factory=lambda: {"orders": 2, "items": 2})
    scales: tuple[int, ...] = (2, 20, 60)
    together: tuple[int, ...] = ()
    work: tuple[str, ...] = ()
    writes: bool = False
    allowed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name
