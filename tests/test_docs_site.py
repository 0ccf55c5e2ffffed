"""The documentation site: every page is in its contents, and every link leads to a heading."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = sorted(DOCS.rglob("*.md"))


def names(nav: object) -> Iterator[str]:
    """The files of a table of contents, in order."""
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from names(each)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_every_page_is_once_in_the_contents() -> None:
    listed = list(names(SITE["nav"]))
    assert sorted(listed) == [page.relative_to(DOCS).as_posix() for page in PAGES]
    assert SITE["strict"] is True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    listed = page.partition("## By error message\n")[2].partition("\n## ")[0]
    messages = re.findall(r"^`(.+)`$", listed, re.MULTILINE)
    assert len(messages) > 10
    folders = (ROOT / "src", ROOT / "harness", ROOT / ".ci")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    source = "\n".join(
        file.read_text("utf-8") for file in files if file.suffix == ".py" or file.name == "run"
    )
    # A message that is longer than a line is joined from several texts.
    source = re.sub(r'"\s+f?"', "", source)
    foreign = {": no such table:"}
    for message in messages:
        for part in (each.strip() for each in message.split("...")):
            assert part in source or part in foreign, message


MEASURED = re.compile(
    r"\b(?:measured at|took|differed by|takes about)\b[^.]*?\d[\d.,]* ?(?:%|ms|s|min|MB|MiB|GB)\b"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_measured_figure_names_its_date_or_command(page: Path) -> None:
    section = ""
    for paragraph in page.read_text(encoding="utf-8").split("\n\n"):
        if paragraph.startswith("#"):
            section = ""
        section += paragraph
        if found := MEASURED.search(paragraph):
            # A date is that of the section or the paragraph; a command is that of the paragraph.
            assert re.search(r"20\d\d-\d\d-\d\d", section) or "`" in paragraph, found.group()
