"""Mutants: faulty exporters that operators make from correct ones, one change each."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType

from harness.mutants.call_forms import call_form_mutants
from harness.mutants.calls import call_mutants
from harness.mutants.costs import cost_mutants
from harness.mutants.designs import DESIGNS, Design
from harness.mutants.fields import field_mutants
from harness.mutants.files import file_mutants
from harness.mutants.manifests import manifest_mutants
from harness.mutants.mutant import Mutant
from harness.mutants.outside import outside_mutants
from harness.mutants.records import record_mutants
from harness.mutants.signatures import signature_mutants
from harness.mutants.statements import statement_mutants

__all__ = ["OPERATORS", "Design", "Mutant", "all_mutants", "mutants_by_identifier"]

OPERATORS: tuple[Callable[[Design], Iterator[Mutant]], ...] = (
    statement_mutants,
    field_mutants,
    record_mutants,
    call_mutants,
    call_form_mutants,
    signature_mutants,
    manifest_mutants,
    file_mutants,
    cost_mutants,
    outside_mutants,
)
"""The families of operators, in the order in which their mutants are listed."""


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Return all mutants of all designs, in a fixed order."""
    return tuple(mutant for design in DESIGNS for family in OPERATORS for mutant in family(design))


@cache
def mutants_by_identifier() -> Mapping[str, Mutant]:
    """Return all mutants by their identifiers."""
    return MappingProxyType({mutant.identifier: mutant for mutant in all_mutants()})
