"""The correct exporters that mutants are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from zlib import crc32

from elspeth.core.landscape.export.queries import Statement, export_statements
from elspeth.core.landscape.export.record_types import RecordType
from elspeth.core.landscape.exporter import LandscapeExporter
from harness.checks.declared import Declared
from harness.checks.selftest import load_correct_exporters
from harness.exporters.subject import DEFAULT_CANDIDATE, load_subject
from harness.mutants.mutant import ExporterClass


# eq=False: the statements are a mapping, which has no hash.
@dataclass(frozen=True, eq=False)
class Design:
    """A correct exporter.

    Attributes:
        name: The start of the identifiers of its mutants.
        exporter: The class.
        declared: The costs that it declares to the checks.
        groups_by_parent: Whether it groups children by their parent in memory. The keys of
            ancestors in the order of a child's statement then have no effect.
    """

    name: str
    exporter: ExporterClass
    declared: Declared
    groups_by_parent: bool

    @cached_property
    def statements(self) -> Mapping[RecordType, Statement]:
        """The statement of every record type, for a run named `run`."""
        return MappingProxyType(export_statements("run"))


def _correct(name: str, reference: str, *, groups_by_parent: bool) -> Design:
    """Return a design of the list of correct exporters, with the costs that it declares there."""
    (listed,) = (each for each in load_correct_exporters() if each.exporter == reference)
    exporter = load_subject(reference).factory
    if not isinstance(exporter, type) or not issubclass(exporter, LandscapeExporter):
        raise TypeError(f"{reference} is not a class that extends LandscapeExporter")
    return Design(name, exporter, listed.declared, groups_by_parent)


DESIGNS = (
    _correct("batched", DEFAULT_CANDIDATE, groups_by_parent=False),
    _correct(
        "maps",
        "harness.fixtures.correct_exporters.in_memory_maps:InMemoryMaps",
        groups_by_parent=True,
    ),
)
"""The designs, in the order in which their mutants are listed."""

DESIGN_OF: Mapping[str, Design] = MappingProxyType({each.name: each for each in DESIGNS})
"""The designs by name."""


# There are thousands of such mutants, and a check has to run on every one.
def is_made_of(design: Design, operator: str, part: str) -> bool:
    """Whether a change that is alike in all designs is made to this one: they take turns by hash.

    Args:
        design: The design.
        operator: The name of the operator.
        part: What is changed.
    """
    turn = crc32(f"{operator}/{part}".encode()) % len(DESIGNS)
    return DESIGNS[turn] is design
