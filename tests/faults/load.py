"""`tox -e load`: runs eight exporters and a writer on each backend, for some seconds each."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from concurrent_exports import LoadResult, run_load
from postgres_server import new_landscape, temporary_server

_SECONDS = 120.0


def main(arguments: Sequence[str]) -> int:
    """Load each backend and print the results. Return 1 if anything was wrong."""
    seconds = float(arguments[0]) if arguments else _SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="landscape-load-") as folder,
        temporary_server() as server,
    ):
        (Path(folder) / "files").mkdir()
        urls = {
            "postgresql": new_landscape(server, "landscape_load"),
            "sqlite": f"sqlite:///{folder}/files/audit.db",
        }
        loads = [_print_load(url, Path(folder) / name, seconds) for name, url in urls.items()]
    return 1 if any(each.problems for each in loads) else 0


def _print_load(url: str, folder: Path, seconds: float) -> LoadResult:
    done = run_load(url, folder, seconds=seconds, finished=6, growing=2, rows=500)
    for line in (*done.lines(), *(f"  problem: {each}" for each in done.problems)):
        print(line, flush=True)  # noqa: T201 - the report of the script
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
