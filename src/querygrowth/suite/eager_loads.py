"""Find relationships that are loaded eagerly and never read (the rule `unused-eager-load`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from sqlalchemy.orm import InstrumentedAttribute


@contextmanager
def noted_reads() -> Iterator[set[str]]:
    """Note the relationships that are read inside the block, as names such as `Order.items`.

    SQLAlchemy has no event for reading what is loaded, so that the descriptor of all attributes is
    replaced. This rule is opt-in for that reason.
    """
    reads: set[str] = set()
    original: Any = InstrumentedAttribute.__get__

    @wraps(original)
    def noting(self: Any, instance: Any, owner: Any) -> Any:
        if instance is not None and self.impl.uses_objects:
            reads.add(f"{self.property.parent.class_.__name__}.{self.key}")
        return original(self, instance, owner)

    InstrumentedAttribute.__get__ = noting  # type: ignore[method-assign]
    try:
        yield reads
    finally:
        InstrumentedAttribute.__get__ = original  # type: ignore[method-assign]
