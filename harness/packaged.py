"""Paths of the files that come with the harness, in a checkout and in an installed wheel."""

import os
from collections.abc import Mapping
from pathlib import Path

import harness.fixtures

PACKAGE = Path(__file__).parent
"""The folder of the package `harness`."""

FIXTURES = Path(harness.fixtures.__path__[0])
"""The folder of targets, baseline, golden exports, and seeded and correct exporters."""

# Commands do not write into an installed package: a change there is not reviewed, and the next
# installation overwrites it.
IS_INSTALLED = FIXTURES.is_relative_to(PACKAGE)
"""Whether these files belong to an installed package, and not to a checkout."""

TARGETS = FIXTURES / "targets.toml"
BASELINE = FIXTURES / "baseline.json"
GOLDEN = FIXTURES / "golden"
SEEDED_FAULTS = FIXTURES / "faulty_exporters" / "seeded.toml"
CORRECT_EXPORTERS = FIXTURES / "correct_exporters" / "designs.toml"
MUTATION_SCORE = FIXTURES / "mutants.json"


def child_environment() -> Mapping[str, str]:
    """Return environment variables with which `python -P -m harness...` runs this harness."""
    # Without -P, Python imports a folder named harness in the working directory first. Without the
    # path, it imports another harness on PYTHONPATH, or none if this one is not installed.
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
