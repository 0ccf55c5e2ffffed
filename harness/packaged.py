"""Paths of the files that come with the harness, in a checkout and in an installed wheel."""

from pathlib import Path

import harness.fixtures

FIXTURES = Path(harness.fixtures.__path__[0])
"""The folder of targets, baseline, golden exports, and seeded and correct exporters."""

TARGETS = FIXTURES / "targets.toml"
BASELINE = FIXTURES / "baseline.json"
GOLDEN = FIXTURES / "golden"
SEEDED_FAULTS = FIXTURES / "faulty_exporters" / "seeded.toml"
CORRECT_EXPORTERS = FIXTURES / "correct_exporters" / "designs.toml"
