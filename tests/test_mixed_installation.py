"""Tests of installing beside another distribution with a package `elspeth`: nothing runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import landscape_start
from landscape_start import MixedInstallation, installation_problem, mixed_installation

ROOT = Path(__file__).parents[1]
PROBE = "harness/exporters/probe_script.py"
THEIRS = {
    "elspeth/__init__.py": "raise SystemExit('their package was imported')\n",
    "elspeth/cli.py": "raise SystemExit('their command ran')\n",
    "elspeth/core/landscape/exporter.py": "class LandscapeExporter: ...\n",
}
OURS = {
    "elspeth/__init__.py": "raise SystemExit('our package was imported')\n",
    "elspeth/cli/main.py": "def main(): raise SystemExit('our command ran')\n",
    "harness/cli/main.py": "def main(): raise SystemExit('our command ran')\n",
    **{
        path: (ROOT / source / path).read_text()
        for source, path in (
            ("src", "landscape_start/__init__.py"),
            ("src", "landscape_start/pytest_plugin.py"),
            ("", "harness/__init__.py"),
            ("", "harness/__main__.py"),
            ("", PROBE),
        )
    },
}
ENTRY_POINTS = "[pytest11]\nlandscape_start = landscape_start.pytest_plugin\n"


def install(folder: Path, name: str, files: Mapping[str, str]) -> None:
    """Write files and a RECORD as pip does, over those that are there."""
    information = f"{name.replace('-', '_')}-0.1.0.dist-info"
    metadata = {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n",
        f"{information}/entry_points.txt": ENTRY_POINTS if "landscape_start" in str(files) else "",
    }
    for path, text in (files | metadata).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    record = "".join(f"{path},sha256=0,1\n" for path in (*files, *metadata))
    (folder / information / "RECORD").write_text(f"{record}{information}/RECORD,,\n")


def install_ours(folder: Path) -> None:
    install(folder, "elspeth-landscape", OURS)


def install_theirs(folder: Path) -> None:
    install(folder, "elspeth", THEIRS)


@pytest.fixture(
    params=[(install_ours, install_theirs), (install_theirs, install_ours)],
    ids=["theirs came second", "ours came second"],
)
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of packages with both distributions, in both orders of installation."""
    for step in request.param:
        step(tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run Python with a folder of packages before those of the tests."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import landscape_start; landscape_start.landscape()"),
        ("-c", "import landscape_start; landscape_start.harness()"),
        ("-m", "harness"),
        ("-m", "pytest", "-p", "no:cacheprovider"),
    ],
    ids=["landscape", "harness", "python -m harness", "pytest"],
)
def test_every_command_stops_with_exit_2_and_names_both(
    mixed: Path, arguments: tuple[str, ...]
) -> None:
    done = run(mixed, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    output = (done.stdout + done.stderr).splitlines()
    (line,) = [each for each in output if "both install" in each]
    assert "elspeth 0.1.0 and elspeth-landscape 0.1.0 both install the package `elspeth`" in line
    assert f"in {mixed}, with 1 files in common" in line
    assert "into a separate environment, as pipx or uv tool make one" in line


@pytest.mark.parametrize(
    ("package", "command"),
    [("elspeth", "landscape"), ("elspeth", "harness"), ("harness", "harness")],
)
def test_a_folder_that_hides_a_package_of_ours_is_named(
    tmp_path: Path, package: str, command: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    done = run(tmp_path, "-c", f"import landscape_start; landscape_start.{command}()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / package} hides the package `{package}` of")


def test_the_probe_refuses_the_environment_of_an_exporter(mixed: Path) -> None:
    requests, answers = os.pipe()
    try:
        done = run(mixed, PROBE, str(requests), str(answers), pass_fds=(requests, answers))
        answer = os.read(requests, 10_000).decode()
    finally:
        os.close(requests)
        os.close(answers)
    assert done.returncode == 0, done.stderr
    assert "refused" in answer
    assert "elspeth 0.1.0 and elspeth-landscape 0.1.0 both install" in answer


@pytest.mark.parametrize("install_one", [install_ours, install_theirs])
def test_one_of_the_two_alone_is_not_a_mixture(
    tmp_path: Path, install_one: Callable[[Path], None]
) -> None:
    install_one(tmp_path)
    assert mixed_installation([str(tmp_path)]) is None
    if install_one is install_ours:
        done = run(tmp_path, "-c", "import landscape_start; landscape_start.landscape()")
        assert done.stderr == "our package was imported\n"


def test_what_the_removal_of_the_other_distribution_has_taken_along_is_named(
    mixed: Path,
) -> None:
    for file in THEIRS:
        (mixed / file).unlink()
    shutil.rmtree(mixed / "elspeth-0.1.0.dist-info")
    done = run(mixed, "-c", "import landscape_start; landscape_start.landscape()")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "has lost 1 of its files, such as elspeth/__init__.py" in line
    assert "pip install --force-reinstall --no-deps elspeth-landscape" in line


def test_two_folders_are_not_a_mixture(tmp_path: Path) -> None:
    install_ours(tmp_path / "ours")
    install_theirs(tmp_path / "theirs")
    assert mixed_installation([str(tmp_path / "ours"), str(tmp_path / "theirs")]) is None


def editable(folder: Path, name: str, kind: str) -> None:
    """Install a checkout in a folder beside, as pip, setuptools or `setup.py develop` do."""
    checkout = folder.parent / f"checkout of {name}"
    (checkout / "elspeth").mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    if kind == "link":
        (folder / f"{name}.egg-link").write_text(f"{checkout}\n.")
    elif kind == "call":
        mapped = f"F.map_module('elspeth', '{checkout}/elspeth/__init__.py')\n"
        install(folder, name, {f"_editable_impl_{name}.py": mapped})
    elif kind == "path":
        install(folder, name, {f"_{name}.pth": f"import this\n{checkout}\n"})
    else:
        finder = f"MAPPING: dict[str, str] = {{'elspeth': '{checkout}/elspeth'}}\n"
        install(folder, name, {f"__editable___{name}_finder.py": finder})


@pytest.mark.parametrize("ours_is_editable", [False, True])
@pytest.mark.parametrize("kind", ["path", "finder", "call", "link"])
def test_editable_installations_are_found(
    tmp_path: Path, kind: str, ours_is_editable: bool
) -> None:
    folder = tmp_path / "packages"
    editable(folder, "elspeth", kind)
    if ours_is_editable:
        editable(folder, "elspeth-landscape", "path")
    else:
        install_ours(folder)
    mixture = mixed_installation([str(folder)])
    assert mixture is not None
    assert [each.name for each in mixture.distributions] == ["elspeth", "elspeth-landscape"]
    assert "in common" not in str(mixture)


@pytest.mark.parametrize("entry", ["elspeth-0.1.0-py3.11.egg-info", "elspeth.egg-info"])
def test_a_distribution_of_setup_py_is_found(tmp_path: Path, entry: str) -> None:
    install_ours(tmp_path)
    (tmp_path / entry).mkdir()
    (tmp_path / entry / "top_level.txt").write_text("elspeth\nelspeth_tests\n")
    mixture = mixed_installation([str(tmp_path)])
    assert mixture is not None
    assert [each.name for each in mixture.distributions] == ["elspeth", "elspeth-landscape"]


def test_what_pip_has_moved_away_is_not_installed(tmp_path: Path) -> None:
    install_ours(tmp_path)
    (tmp_path / "elspeth_landscape-0.1.0.dist-info").rename(
        tmp_path / "~lspeth_landscape-0.1.0.dist-info"
    )
    install_ours(tmp_path)
    assert installation_problem([str(tmp_path)]) is None


def test_a_checkout_of_ours_with_both_distributions_is_not_a_mixture(tmp_path: Path) -> None:
    (tmp_path / "src" / "elspeth").mkdir(parents=True)
    folder = tmp_path / "packages"
    for name in ("elspeth-landscape", "querygrowth"):
        install(folder, name, {f"_{name}.pth": f"{tmp_path / 'src'}\n"})
    assert mixed_installation([str(folder)]) is None


@pytest.mark.parametrize(
    "files",
    [
        {"elspeth_tools/__init__.py": ""},
        {"myelspeth/__init__.py": ""},
        {"other/elspeth/__init__.py": ""},
        {"elspeth-1.0.data/x": ""},
        {"_other.pth": "/nowhere\n\n"},
    ],
    ids=lambda files: next(iter(files)),
)
def test_another_package_with_a_similar_path_is_not_a_mixture(
    tmp_path: Path, files: Mapping[str, str]
) -> None:
    install_ours(tmp_path)
    install(tmp_path, "other", files)
    assert mixed_installation([str(tmp_path)]) is None


def test_one_file_deep_in_the_package_is_a_mixture(tmp_path: Path) -> None:
    install_ours(tmp_path)
    install(tmp_path, "Elspeth.Extras", {"elspeth/plugins/extra.py": ""})
    assert isinstance(mixed_installation([str(tmp_path)]), MixedInstallation)


@pytest.mark.parametrize(
    "spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\xff")]
)
def test_a_distribution_without_a_readable_record_stops_nothing(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    install_ours(tmp_path)
    install(tmp_path, "other", {"other.py": ""})
    spoil(tmp_path / "other-0.1.0.dist-info" / "RECORD")
    archive = shutil.make_archive(str(tmp_path / "packages"), "zip", tmp_path / "elspeth")
    assert mixed_installation([str(tmp_path), archive, "", "/nowhere"]) is None


def test_this_installation_has_no_problem() -> None:
    assert installation_problem() is None


def test_the_check_imports_nothing_of_ours_and_no_large_module() -> None:
    script = (
        "import sys; before = set(sys.modules); import landscape_start;"
        "landscape_start.installation_problem();"
        "print(*sorted(set(sys.modules) - before))"
    )
    folder = Path(landscape_start.__file__).parents[1]
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = [{str(folder)!r}]; {script}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "landscape_start" in loaded
    assert not loaded & {"elspeth", "harness", "importlib.metadata", "json", "pathlib", "email"}
