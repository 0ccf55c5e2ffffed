"""Operators that change one field of one record type."""

from collections.abc import Iterator

from harness.mutants.designs import Design
from harness.mutants.mutant import Mutant


def field_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all fields of a design."""
    yield from ()
