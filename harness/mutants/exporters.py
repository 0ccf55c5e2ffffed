"""The faulty exporters, as attributes that `harness.mutants.exporters:IDENTIFIER` names.

An exporter is made when its name is first used.
"""

from functools import cache

from harness.mutants import mutants_by_identifier
from harness.mutants.designs import DESIGN_OF
from harness.mutants.mutant import ExporterClass


@cache
def faulty_exporter(identifier: str) -> ExporterClass:
    """Return the exporter of a mutant.

    Raises:
        KeyError: There is no such mutant.
    """
    mutant = mutants_by_identifier()[identifier]
    exporter = mutant.apply(DESIGN_OF[mutant.design].exporter)
    exporter.__name__ = exporter.__qualname__ = identifier
    return exporter


def __getattr__(name: str) -> ExporterClass:
    # The import system asks every module for names such as `__path__`. All mutants would be made to
    # find out that it is none of them.
    if name.startswith("__"):
        raise AttributeError(f"there is no mutant {name}")
    try:
        return faulty_exporter(name)
    except KeyError:
        raise AttributeError(f"there is no mutant {name}") from None
