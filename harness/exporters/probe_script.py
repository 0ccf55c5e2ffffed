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

_FOLDER = Path(__file__).parent
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
    folder = _FOLDER / "probe"
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    spec.loader.exec_module(package)
    host = importlib.import_module(f"{_NAME}.host")
    host.run(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
