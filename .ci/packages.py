"""Builds both distributions, judges them, and installs them in empty environments.

    python .ci/packages.py [FOLDER]

Needs build, check-wheel-contents, pyroma and twine. Exit 1 with a line for every fault.
"""

import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = (ROOT, ROOT / "src" / "querygrowth")
# Nobody is named as the author, and no page is published: inventing either would be worse.
KNOWN_GAPS = (
    "Your package does not have author data.",
    "Your package does not have author-email data.",
    "Your package should have a 'url' field",
)
COMMANDS = {
    "querygrowth alone": (
        ("querygrowth-",),
        ("python -c 'import querygrowth; querygrowth.assert_query_growth'", "pytest --version"),
    ),
    "both": (
        ("querygrowth-", "elspeth_landscape-"),
        ("landscape --help", "harness --help", "python -m elspeth.cli.main --help"),
    ),
}


def main() -> int:
    """Build, judge and install, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/dist").resolve()
        for project in PROJECTS:
            _run(["python", "-m", "build", "--outdir", str(built), str(project)])
        faults = [*_of_files(built), *_of_metadata(), *_of_installations(built, Path(folder))]
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "both distributions are right")
    return 1 if faults else 0


def _of_files(built: Path) -> Iterator[str]:
    files = sorted(map(str, built.glob("*")))
    wheels = [file for file in files if file.endswith(".whl")]
    if len(files) != 4 or len(wheels) != 2:
        yield f"not two wheels and two sdists: {files}"
    yield from _failed("twine", ["check", "--strict", *files])
    # Its settings are in the pyproject.toml of each project.
    for wheel in wheels:
        project = PROJECTS[Path(wheel).name.startswith("querygrowth")]
        yield from _failed("check-wheel-contents", [wheel], project)


def _of_metadata() -> Iterator[str]:
    for project in PROJECTS:
        said = _said(["pyroma", str(project)]).stdout
        for line in said.splitlines():
            if line.startswith("Your package") and not line.startswith(KNOWN_GAPS):
                yield f"pyroma: {project.name}: {line}"


def _of_installations(built: Path, folder: Path) -> Iterator[str]:
    for kind in (".whl", ".tar.gz"):
        for name, (prefixes, commands) in COMMANDS.items():
            place = folder / f"{name}{kind}".replace(" ", "-")
            venv.create(place, with_pip=True)
            files = [
                str(file)
                for prefix in prefixes
                for file in built.glob(f"{prefix}*")
                if file.name.endswith(kind)
            ]
            _run([str(place / "bin" / "pip"), "install", "--quiet", *files])
            for command in commands:
                path = f'PATH="{place / "bin"}:$PATH"'
                done = _said(["sh", "-c", f"cd / && {path} {command}"])
                if done.returncode:
                    yield f"{name}, {kind}: {command}: {done.stderr.strip()[-200:]}"


def _failed(program: str, arguments: Sequence[str], folder: Path = ROOT) -> Iterator[str]:
    done = _said([program, *arguments], folder)
    if done.returncode:
        yield f"{program}: {(done.stdout + done.stderr).strip()}"


def _said(command: Sequence[str], folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _run(command: Sequence[str]) -> None:
    done = _said(command)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
