"""Export a run to standard output: `python -m elspeth.cli URL RUN`."""

import sys

from elspeth.core.landscape import LandscapeDB
from elspeth.engine.orchestrator import export_after_run


def main() -> None:
    """Print the records of the run that the arguments name."""
    url, run_id = sys.argv[1:]
    sys.stdout.write(export_after_run(LandscapeDB.from_url(url, create_tables=False), run_id))


if __name__ == "__main__":
    main()
