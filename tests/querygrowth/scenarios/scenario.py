"""A scenario: a small program that queries a database well or badly, and how to grow it.

Plain SQLAlchemy and data, nothing of the harness, so that other tools can be run on it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    """`action(engine)` on what `populate(**sizes)` makes.

    `finding` is what must be said about a bad program, and is empty for a good one. `allowed`
    declares a table's chunk or page, as `{"items": {"chunk": 500}}`.
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
