"""A hook of the documentation site: links to files of the repository outside docs/ become text."""

import re
from typing import Any

# The pages are read in a checkout too, where these links lead somewhere. The site has no address
# of the repository to link to.
_OUTSIDE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:README|src|harness|fixtures|tests|action)[^)]*\)"
)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links that climb out of docs/ by their text."""
    climbs = page.file.src_uri.count("/") + 1
    return _OUTSIDE.sub(
        lambda link: link[1] if link[0].count("../") >= climbs else link[0], markdown
    )
