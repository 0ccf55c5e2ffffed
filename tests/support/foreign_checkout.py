"""Lay out a foreign checkout: `python tests/support/foreign_checkout.py FOLDER`.

The checkout in `foreign/` beside this file stands for the audit trail of another team. It has the
shape of the original project and shares no code with ours: its `elspeth.core.landscape` has another
constructor of `LandscapeDB` (no `create_tables`, no `read_only`; `from_url` takes `create_tables`),
raises ValueError for an unknown run, has its own `schema`, an N+1 exporter without a clock, and a
module `elspeth/cli.py` where ours has a package.
"""

import shutil
import sys
from pathlib import Path

FOREIGN = Path(__file__).with_name("foreign")
EXPORTER = "elspeth.core.landscape:LandscapeExporter"
"""The reference of the exporter there, which is also that of our own exporter here."""


def lay_out(folder: Path) -> Path:
    """Copy the checkout into a folder and return the folder of its packages, for `--src`.

    Args:
        folder: The folder of the checkout. It must not exist.
    """
    shutil.copytree(FOREIGN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "src"


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
