"""How to install an extra of the distribution: the words of every error about a missing package."""


def extra_hint(extra: str) -> str:
    """Return how to install an extra: no release is published, so a name alone installs nothing."""
    return f"in a checkout of elspeth-landscape, pip install ./src/querygrowth '.[{extra}]'"
