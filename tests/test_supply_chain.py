"""The supply chain: locked dependencies, their audit, and no code that executes data."""

import ast
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKED = ROOT / ".ci" / "requirements.txt"
SOURCES = sorted(
    path for folder in ("src", "harness", "fixtures") for path in (ROOT / folder).rglob("*.py")
)
INTERPRETERS = ("3.11", "3.12", "3.13")


def locked() -> list[tuple[Requirement, list[str]]]:
    """The packages of the lock file with their hashes."""
    text = LOCKED.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (Requirement(line.partition(" --hash")[0].strip()), re.findall(r"--hash=(\S+)", line))
        for line in lines
    ]


def direct_dependencies() -> Iterator[Requirement]:
    """The dependencies of both distributions, with those of all extras."""
    for folder in (ROOT, ROOT / "src/querygrowth"):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        groups = [project["dependencies"], *project["optional-dependencies"].values()]
        for each in (Requirement(text) for group in groups for text in group):
            # Both distributions are built from this checkout, so neither is locked.
            if each.name not in (project["name"], "querygrowth"):
                yield each


def environment(version: str) -> dict[str, str]:
    """The environment markers of a CPython version on Linux."""
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


class TestLockedDependencies:
    def test_every_package_is_pinned_to_one_version_with_its_hashes(self) -> None:
        packages = locked()
        assert len(packages) > 50
        for package, hashes in packages:
            assert re.fullmatch(r"==[^*,]+", str(package.specifier)), package
            assert hashes, package
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), package

    def test_the_file_names_no_package_index_and_no_path(self) -> None:
        text = LOCKED.read_text(encoding="utf-8")
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host|^-|[\w-] @ ", text)
        assert not re.search(r"(^|\s)/\w", text), "a path of the machine that wrote it"

    def test_its_first_lines_name_the_commands_that_write_and_install_it(self) -> None:
        top = LOCKED.read_text(encoding="utf-8").splitlines()[:2]
        assert "tox -e lock" in top[1]
        assert "pip install --require-hashes -r .ci/requirements.txt" in top[1]

    @pytest.mark.parametrize("version", INTERPRETERS)
    def test_every_direct_dependency_is_locked_at_an_allowed_version(self, version: str) -> None:
        markers = environment(version)
        pinned = {
            canonicalize_name(package.name): str(package.specifier).removeprefix("==")
            for package, _ in locked()
            if package.marker is None or package.marker.evaluate(markers)
        }
        direct = list(direct_dependencies())
        assert len(direct) > 20
        for each in direct:
            assert each.specifier.contains(pinned[canonicalize_name(each.name)]), each

    @pytest.mark.parametrize("version", INTERPRETERS)
    def test_no_package_is_in_it_twice_for_one_interpreter(self, version: str) -> None:
        markers = environment(version)
        names = [
            canonicalize_name(package.name)
            for package, _ in locked()
            if package.marker is None or package.marker.evaluate(markers)
        ]
        assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The script that `tox -e audit` runs. pip-audit itself is installed only there."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(*packages: dict[str, object]) -> str:
    """The output of pip-audit with `--format json`."""
    return json.dumps({"dependencies": list(packages), "fixes": []})


SOUND = {"name": "rich", "version": "14.0.0", "vulns": []}
SKIPPED = {"name": "idna", "skip_reason": "Dependency not found on PyPI"}
VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.3"], "aliases": [], "description": "bad"}],
}


class TestAudit:
    @pytest.mark.parametrize(
        "errors",
        [
            "Traceback (most recent call last):\nrequests.exceptions.ProxyError: no proxy",
            "requests.exceptions.ConnectionError: Max retries exceeded",
            "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
            "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another",
        ],
    )
    def test_a_missing_network_is_reported_in_one_line(
        self, audit: ModuleType, errors: str
    ) -> None:
        found = audit.judge("", errors)
        assert found.code == 3
        (line,) = found.lines
        assert line.startswith("not audited, no network: ")

    @pytest.mark.parametrize("packages", [(SKIPPED,), (SOUND, SKIPPED), ()])
    def test_a_package_that_the_service_does_not_know_does_not_pass(
        self, audit: ModuleType, packages: tuple[dict[str, object], ...]
    ) -> None:
        found = audit.judge(answer(*packages), "No known vulnerabilities found")
        assert found.code == 3
        assert "not audited" in found.lines[0]

    def test_a_vulnerability_is_named_with_the_release_that_repairs_it(
        self, audit: ModuleType
    ) -> None:
        found = audit.judge(answer(SOUND, VULNERABLE, SKIPPED), "Found 1 known vulnerability")
        assert (found.code, found.lines) == (1, ("jinja2 3.1.2: PYSEC-1, repaired in 3.1.3",))

    def test_packages_without_a_vulnerability_pass(self, audit: ModuleType) -> None:
        found = audit.judge(answer(SOUND), "No known vulnerabilities found")
        assert (found.code, found.lines) == (0, ("1 packages, no known vulnerability",))

    def test_an_unreadable_file_is_not_reported_as_a_missing_network(
        self, audit: ModuleType
    ) -> None:
        found = audit.judge("", "ERROR:pip_audit._cli:requirement idna does not contain a hash")
        assert found.code == 2
        assert "does not contain a hash" in found.lines[0]


FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
FORBIDDEN_BUILTINS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {"os.system", "os.popen", "builtins.eval", "builtins.exec", "builtins.compile"}
YAML_LOADERS = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
# The loader of the settings derives from the safe loader and allows less. `shell=True` and pickle
# have no exception: ProcessPoolExecutor pickles messages between our own processes, never a file.
STRICT_YAML = ("src/elspeth/core/strict_yaml.py", "yaml.load(content, Loader=_StrictLoader)")


def hazards(source: str, path: str = "") -> Iterator[str]:
    """Yield each way in which code could execute data, or pass text to a shell."""
    tree = ast.parse(source)
    spelled = _real_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (
                    f"imports {each.name}"
                    for each in names
                    if each.name.partition(".")[0] in FORBIDDEN_MODULES
                )
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in FORBIDDEN_MODULES:
                    yield f"imports {module}"
                for each in names:
                    if f"{module}.{each.name}" in FORBIDDEN_CALLS | YAML_LOADERS:
                        yield f"imports {module}.{each.name}"
            case ast.Name(id=name) if name in FORBIDDEN_BUILTINS:
                yield f"uses {name}"
            case ast.Attribute():
                name = ast.unparse(node)
                first, _, rest = name.partition(".")
                name = f"{spelled.get(first, first)}.{rest}"
                if name in FORBIDDEN_CALLS:
                    yield f"uses {name}"
                if name in YAML_LOADERS and STRICT_YAML not in _calls(tree, node, path):
                    yield f"uses {name}"
            case ast.keyword(arg="shell", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield "shell"
            case ast.Constant(value=str(name)) if name in FORBIDDEN_MODULES:
                yield f"names {name}"


def _real_names(tree: ast.Module) -> dict[str, str]:
    """The names of modules by their aliases, for `import os as o`."""
    return {
        each.asname: each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for each in node.names
        if each.asname
    }


def _calls(tree: ast.Module, function: ast.expr, path: str) -> Iterator[tuple[str, str]]:
    """The calls of one function expression, with the path of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.func is function:
            yield path, ast.unparse(node)


class TestHazards:
    def test_no_source_executes_data(self) -> None:
        assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == {
            "src",
            "harness",
            "fixtures",
        }
        assert len(SOURCES) > 100
        found = [
            f"{path.relative_to(ROOT)}: {hazard}"
            for path in SOURCES
            for hazard in hazards(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
        ]
        assert found == []

    @pytest.mark.parametrize(
        "source",
        [
            "import pickle",
            "import pickle as p",
            "from pickle import loads",
            "import marshal, json",
            "import shelve",
            "from dill import load",
            "import cloudpickle.cloudpickle",
            'importlib.import_module("pickle")',
            "eval(text)",
            "run = eval",
            "exec(text)",
            'compile(text, "", "exec")',
            "import builtins\nbuiltins.exec(text)",
            '__import__("os")',
            "import os\nos.system(text)",
            "import os as o\no.popen(text)",
            "from os import system",
            "subprocess.run(text, shell=True)",
            "subprocess.run(text, shell=anything)",
            "import yaml\nyaml.load(text)",
            "import yaml\nyaml.load(text, Loader=yaml.Loader)",
            "import yaml as y\ny.unsafe_load(text)",
            "from yaml import load",
            "import yaml\nread = yaml.full_load",
            "yaml.load(content, Loader=_StrictLoader)",
        ],
    )
    def test_code_that_executes_data_is_found(self, source: str) -> None:
        assert list(hazards(source))

    @pytest.mark.parametrize(
        "source",
        [
            "import re\nre.compile(text)",
            "statement.compile(dialect=sqlite)",
            "subprocess.run(command, shell=False)",
            "import os\nos.replace(a, b)",
            "import yaml\nyaml.safe_load(text)",
            "import json\njson.loads(text)",
            "executor.submit(work)",
        ],
    )
    def test_harmless_code_is_not_reported(self, source: str) -> None:
        assert list(hazards(source)) == []

    def test_the_strict_loader_is_allowed_in_its_own_place_only(self) -> None:
        path, call = STRICT_YAML
        assert list(hazards(call, path)) == []
        assert list(hazards(call.replace("_StrictLoader", "yaml.Loader"), path))
        assert f"{call}  # noqa" in (ROOT / path).read_text(encoding="utf-8")


def test_the_bill_of_materials_has_every_extra_for_users() -> None:
    settings = (ROOT / "tox.ini").read_text(encoding="utf-8")
    (command,) = re.findall(r"pip --python \{env:INSTALLED\} install .*", settings)
    for folder, extras in (("./src/querygrowth", "test"), (".", "dev")):
        text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
        known = set(tomllib.loads(text)["project"]["optional-dependencies"]) - {extras}
        (named,) = re.findall(rf"'{re.escape(folder)}\[([\w,]+)\]'", command)
        assert set(named.split(",")) == known
