"""The program of an exporter's own process: `PYTHON probe_script.py REQUESTS ANSWERS`.

The arguments are two inherited file descriptors. The package `probe` beside this file does the
work. It is loaded by its path and under another name, so that the exporter's environment needs no
harness, and no module of the harness's folder can replace one of the exporter's.
"""

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_PACKAGES = _FOLDER.parents[1]
# Installed, it lies beside `harness`; in a checkout in `src`.
_START = next(
    folder
    for folder in (_PACKAGES / "landscape_start", _PACKAGES / "src" / "landscape_start")
    if folder.is_dir()
)
_NAME = "harness_probe"
_LEAST_PYTHON = (3, 10)


def main() -> None:
    """Load the package, and answer requests."""
    if sys.version_info < _LEAST_PYTHON:
        # This file has no syntax that an older Python lacks, so that it can say what is wrong.
        version, least = (
            ".".join(map(str, each[:2])) for each in (sys.version_info, _LEAST_PYTHON)
        )
        message = f"{sys.executable} is Python {version}: an exporter needs {least} or newer there"
        os.write(int(sys.argv[2]), f"{json.dumps({'refused': message})}\n".encode())
        return
    # Python puts the script's folder first on the path.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _FOLDER.resolve()]
    # Of an environment in which pip has mixed our package with that of the exporter.
    problem = _load(_START, "harness_start").installation_problem()
    if problem is not None:
        os.write(int(sys.argv[2]), f"{json.dumps({'refused': problem})}\n".encode())
        return
    _load(_FOLDER / "probe", _NAME)
    host = importlib.import_module(f"{_NAME}.host")
    host.run(int(sys.argv[1]), int(sys.argv[2]))


def _load(folder: Path, name: str) -> Any:
    """Load a package by its folder, under another name."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    main()
