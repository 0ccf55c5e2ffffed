"""docs/cli.md and docs/settings.md are what the commands and the settings say."""

import pytest
from generated_pages import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), (
        "python tests/support/generated_pages.py"
    )
