"""Start the commands, unless another package `elspeth` has overwritten or hides ours.

The original audit trail is a distribution with a package `elspeth` too. pip installs it beside ours
without a word, and the later one overwrites files of the earlier one. What runs then is a mixture.
So every command begins here, outside of `elspeth`, and this module imports nothing of ours before
it has looked.
"""

# Only modules that every interpreter has loaded or loads in under a millisecond: importing
# `importlib.metadata` takes longer than the whole check. It runs in the Python of a subject too, so
# it uses no syntax that 3.10 lacks.

import os
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple, NoReturn

__all__ = [
    "MixedInstallation",
    "harness",
    "installation_problem",
    "landscape",
    "mixed_installation",
    "refuse_damage",
    "refuse_hidden",
    "refuse_system",
]

OURS = "elspeth-landscape"
SIBLING = "querygrowth"
"""A distribution from the same checkout: installed from there, it adds the folder of both."""
PACKAGE = "elspeth"
USAGE_ERROR = 2
"""The exit code, as for every other command that cannot be run as it was called."""


class _Distribution(NamedTuple):
    """An installed distribution that provides the package."""

    name: str
    version: str
    # Paths of files relative to the folder of packages. An editable installation has none.
    files: frozenset[str]


class MixedInstallation(NamedTuple):
    """Several distributions with a package of one name, in one folder of packages."""

    folder: str
    distributions: tuple[_Distribution, ...]

    def __str__(self) -> str:
        names = " and ".join(f"{each.name} {each.version}" for each in self.distributions)
        others = [each.name for each in self.distributions if _normal(each.name) != OURS]
        files = [each.files for each in self.distributions if each.files]
        shared = frozenset.intersection(*files) if len(files) == len(self.distributions) else ()
        overlap = f", with {len(shared)} files in common" if shared else ""
        return (
            f"{names} both install the package `{PACKAGE}` in {self.folder}{overlap}. "
            f"One hides or has overwritten the other, so the results of neither can be trusted. "
            f"Remove both (pip uninstall {OURS} {' '.join(others)}), install "
            f"{' and '.join(others)} again, and install the checkout of {OURS} into a separate "
            f"environment, as pipx or uv tool make one."
        )


def landscape() -> None:
    """Run the `landscape` command."""
    refuse_system()
    refuse_damage()
    refuse_hidden(PACKAGE)
    from elspeth.cli.main import main

    main()


def harness() -> None:
    """Run the `harness` command."""
    refuse_system()
    refuse_damage()
    refuse_hidden(PACKAGE)
    refuse_hidden("harness")
    from harness.cli.main import main

    main()


def refuse_system() -> None:
    """Exit with code 2 and one line on standard error on Windows, which lacks POSIX files."""
    if sys.platform == "win32":
        _exit(
            "landscape and harness run on Linux and macOS, and not on Windows: they need file "
            "modes, signals and renames of POSIX. Use the Windows Subsystem for Linux (WSL)"
        )


def refuse_damage() -> None:
    """Exit with code 2 and one line on standard error if the installation is mixed or damaged."""
    problem = installation_problem()
    if problem is not None:
        _exit(problem)


def refuse_hidden(package: str) -> None:
    """Exit with code 2 and one line on standard error if a folder hides a package of ours.

    With PYTHONPATH, or in the folder of `python -m`, a checkout comes before what is installed. Its
    package would answer in place of ours, or fail with a traceback.

    Args:
        package: The name of the package.
    """
    # Installed, all packages lie beside this one; in a checkout `harness` lies above `src`.
    beside = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for folder in map(os.path.realpath, sys.path):
        if os.path.isfile(os.path.join(folder, package, "__init__.py")):
            if folder not in (beside, os.path.dirname(beside)):
                _exit(
                    f"{os.path.join(folder, package)} hides the package `{package}` of {OURS}, "
                    f"which was started from {beside}. Take {folder} off PYTHONPATH, or run the "
                    f"command in another folder. An exporter there is judged with --src {folder}."
                )
            return


def installation_problem(paths: Iterable[str] | None = None) -> str | None:
    """Return why the installation cannot be trusted, in one line, or None.

    Args:
        paths: The folders to look into, or None for those of `sys.path`.
    """
    folders = list(sys.path if paths is None else paths)
    mixture = mixed_installation(folders)
    return _lost_files(folders) if mixture is None else str(mixture)


def _lost_files(folders: Iterable[str]) -> str | None:
    """Return what is missing of our package: removing the other distribution removes its files."""
    for folder in dict.fromkeys(map(os.path.abspath, folders)):
        for each in _distributions(folder):
            if _normal(each.name) != OURS:
                continue
            lost = sorted(
                file for file in each.files if not os.path.exists(os.path.join(folder, file))
            )
            if lost:
                return (
                    f"{OURS} {each.version} in {folder} has lost {len(lost)} of its files, such as "
                    f"{lost[0]}: another distribution with a package `{PACKAGE}` has overwritten "
                    f"and then removed them. Install it again: "
                    f"pip install --force-reinstall --no-deps {OURS}"
                )
    return None


def mixed_installation(paths: Iterable[str] | None = None) -> MixedInstallation | None:
    """Find a folder in which ours and another distribution provide the package.

    Args:
        paths: The folders to look into, or None for those of `sys.path`.
    """
    # By folder: a package in another one is not overwritten, and it is not ours to say which of
    # two folders somebody wants first.
    for folder in dict.fromkeys(map(os.path.abspath, sys.path if paths is None else paths)):
        found = {_normal(each.name): each for each in _distributions(folder)}
        found.pop(SIBLING, None)
        if OURS in found and len(found) > 1:
            return MixedInstallation(folder, tuple(found[name] for name in sorted(found)))
    return None


def _distributions(folder: str) -> Iterator[_Distribution]:
    """Find the distributions of a folder that provide the package."""
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except OSError:
        # A zip file, or a folder that does not exist: both are usual on sys.path.
        return
    for entry in entries:
        if entry.startswith("~"):
            continue  # What pip has moved away and not removed: it ignores that itself.
        if entry.endswith(".dist-info"):
            record = _read(os.path.join(folder, entry, "RECORD"))
            files = _files_of(record)
            if files or _is_editable(folder, record):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                yield _Distribution(name.replace("_", "-"), version, files)
        elif entry.endswith(".egg-info"):
            # Of setup.py and of some packages of systems, which list no files in a common form.
            packages = _read(os.path.join(folder, entry, "top_level.txt")).split()
            if PACKAGE in packages and _holds_package(folder):
                name, _, rest = entry.removesuffix(".egg-info").partition("-")
                yield _Distribution(name.replace("_", "-"), rest.partition("-")[0], frozenset())
        elif entry.endswith(".egg-link"):
            # What `setup.py develop` leaves: the folder of the checkout is on the first line.
            source = _read(os.path.join(folder, entry)).split("\n", 1)[0].strip()
            if _holds_package(source):
                yield _Distribution(entry.removesuffix(".egg-link"), "(editable)", frozenset())


def _files_of(record: str) -> frozenset[str]:
    """Return the files of the package that a RECORD lists."""
    # Most records name no such file, and searching a text is much faster than parsing it.
    if f"{PACKAGE}/" not in record:
        return frozenset()
    return frozenset(
        path
        for line in record.splitlines()
        if (path := line.split(",", 1)[0].strip('"')).startswith(f"{PACKAGE}/")
        # Not compiled files, which pip adds, and of which another Python has others.
        and "__pycache__" not in path
    )


def _is_editable(folder: str, record: str) -> bool:
    """Whether a distribution without files of the package adds a folder that holds it."""
    for line in record.splitlines():
        path = line.split(",", 1)[0].strip('"')
        if path.endswith(".pth") and "/" not in path:
            added = _read(os.path.join(folder, path)).splitlines()
            if any(_holds_package(each.strip()) for each in added):
                return True
        # setuptools writes a module with a dict of packages and their folders, and hatchling and
        # pdm one that names each package in a call.
        elif "editable" in path and path.endswith(".py") and "/" not in path:
            text = _read(os.path.join(folder, path))
            if any(f"'{PACKAGE}'{end}" in text for end in (":", ",")):
                return True
    return False


def _holds_package(folder: str) -> bool:
    return bool(folder) and os.path.isdir(os.path.join(folder, PACKAGE))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _normal(name: str) -> str:
    return name.replace("_", "-").replace(".", "-").lower()


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(USAGE_ERROR)
