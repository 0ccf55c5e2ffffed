"""The costs of an exporter at another revision, counted in a separate process."""

import json
import os
import subprocess
from pathlib import Path

import querygrowth
from harness import packaged
from harness.bench.baseline import BaselineError, Costs, load_baseline
from harness.bench.environment import Checkout

# The revision's exporter, schema and recorder, under this harness: both revisions are counted on
# the same runs in the same way. A package keeps the path that it was first imported from.
_PROGRAM = """
import json, sys
request = json.load(sys.stdin)
for package, folder in request["packages"].items():
    sys.path.insert(0, folder)
    __import__(package)
    sys.path.pop(0)
sys.path[:0] = request["paths"]
from pathlib import Path
from harness.bench.baseline import count_costs, save_baseline
from harness.exporters.measured import InThisProcess
from harness.exporters.subject import load_subject
candidate = InThisProcess(load_subject(request["reference"]))
save_baseline(count_costs(candidate, Path(request["directory"])), Path(request["file"]))
"""


class RevisionCostsError(Exception):
    """The exporter of a revision could not be counted. The message is one line."""


def count_revision(checkout: Checkout, reference: str, python: str, directory: Path) -> Costs:
    """Count the costs of a revision's exporter, as `count_costs` does for one of this process.

    Args:
        checkout: The files of the revision.
        reference: The exporter as module:attribute.
        python: The interpreter, which has the harness's dependencies.
        directory: A folder for databases and exports; it is created.

    Raises:
        RevisionCostsError: It cannot be imported or run there, or has no such exporter.
    """
    directory.mkdir()
    file = directory / "costs.json"
    imported_from = str(Path(querygrowth.__path__[0]).parent)
    request = {
        "packages": {"querygrowth": imported_from, "harness": str(packaged.PACKAGE.parent)},
        "paths": [str(checkout.directory / "src"), str(checkout.directory)],
        "reference": reference,
        "directory": str(directory),
        "file": str(file),
    }
    child = subprocess.run(  # noqa: S603 - this interpreter and a program of this file
        [python, "-P", "-c", _PROGRAM],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        # The working directory may hold another harness, and its settings say nothing here.
        cwd=directory,
        env=os.environ,
    )
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise RevisionCostsError(f"{checkout.name} could not be counted: {last}")
    try:
        return load_baseline(file)
    except BaselineError as error:
        raise RevisionCostsError(f"{checkout.name} could not be counted: {error}") from error
