"""`tox -e load`: eight exporters and a writer on each backend, for so many seconds each."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loading import Load, load
from servers import new_landscape, own_server

_SECONDS = 120.0


def main(arguments: Sequence[str]) -> int:
    """Load each backend, print what came of it, and say whether all was right."""
    seconds = float(arguments[0]) if arguments else _SECONDS
    with tempfile.TemporaryDirectory(prefix="landscape-load-") as folder, own_server() as server:
        (Path(folder) / "files").mkdir()
        urls = {
            "postgresql": new_landscape(server, "landscape_load"),
            "sqlite": f"sqlite:///{folder}/files/audit.db",
        }
        loads = [_load(url, Path(folder) / name, seconds) for name, url in urls.items()]
    return 1 if any(each.problems for each in loads) else 0


def _load(url: str, folder: Path, seconds: float) -> Load:
    done = load(url, folder, seconds=seconds, finished=6, growing=2, rows=500)
    for line in (*done.lines(), *(f"  problem: {each}" for each in done.problems)):
        print(line, flush=True)  # noqa: T201 - what the script is for
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
