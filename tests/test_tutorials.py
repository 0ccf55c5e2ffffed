"""The tutorials and the how-to pages: their files are written, their commands run, as shown."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from profiles import is_nightly
from shown_output import as_pattern

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    page
    for folder in ("tutorials", "how-to")
    for page in sorted((DOCS / folder).glob("*.md"))
    if "```console" in page.read_text(encoding="utf-8")
]
WITHOUT = "-p no:cacheprovider -p no:faker -p no:hypothesispytest"
IS_NIGHTLY = is_nightly()
NEEDED = re.compile(r"^<!-- needs: (.*) -->$", re.MULTILINE)  # modules that may be absent
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Shell:
    """Runs the commands of a page in its own folder; variables that they export are kept."""

    folder: Path
    exported: str = ""

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        if command.startswith("export "):
            self.exported += f"{command}; "
        # An environment may see pytest without having a command for it. No page needs the two
        # plugins, which take a quarter of the start.
        command = re.sub(r"^pytest\b", f"{sys.executable} -m pytest {WITHOUT}", command)
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        return subprocess.run(
            ["bash", "-c", self.exported + command],
            cwd=self.folder,
            env={name: value for name, value in environ.items() if "PYTEST" not in name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def require_shown(shown: list[str], said: list[str]) -> None:
    """Require that the lines are there in order; `...` stands for any number of lines."""
    place, may_skip = 0, False
    for line in shown:
        if line == "...":
            may_skip = True
            continue
        pattern = re.compile(as_pattern(line).replace(r"\ ", " +") + " *")
        rest = said[place:] if may_skip else said[place : place + 1]
        found = next((n for n, each in enumerate(rest) if pattern.fullmatch(each)), None)
        assert found is not None, f"{line!r} is not in\n" + "\n".join(said)
        place, may_skip = place + found + 1, False
    assert may_skip or place == len(said), "more was printed:\n" + "\n".join(said[place:])


def edited(text: str, difference: str) -> str:
    """Apply a shown difference: every run of `-` lines gives way to the `+` lines after it."""
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", difference, re.MULTILINE):
        before, after = (re.sub(r"^[-+]", "", lines, flags=re.MULTILINE) for lines in (old, new))
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def commands(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it prints."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(lines[0], lines[1:]) for lines in (part.splitlines() for part in parts)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    shell, ran = Shell(tmp_path), 0
    needed = NEEDED.search(page.read_text(encoding="utf-8"))
    for module in needed[1].split() if needed else ():
        pytest.importorskip(module)
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        note = block["note"] or ""
        if note.startswith("file: "):
            path = tmp_path / note.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
        elif note.startswith("edit: "):
            path = tmp_path / note.removeprefix("edit: ")
            path.write_text(edited(path.read_text(encoding="utf-8"), block["text"]))
        elif block["kind"] == "console" and (IS_NIGHTLY or "nightly" not in note):
            for command, shown in commands(block["text"]):
                done = shell.run(command)
                require_shown(shown, done.stdout.splitlines())
                ran += 1
            code = re.search(r"exit (\d)", note)
            assert done.returncode == (int(code[1]) if code else 0), done.stdout
    assert ran or "nightly" in page.read_text(encoding="utf-8")
