"""docs/cli.md, docs/settings.md and the tables of docs/record-format.md are what the code says."""

import pytest
from generated_pages import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), (
        "python tests/support/generated_pages.py"
    )
