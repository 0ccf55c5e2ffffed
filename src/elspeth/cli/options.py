"""Options that several `landscape` commands take, and what they have in common."""

import os
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.runtime import UsageError

DATABASE_VARIABLE = "ELSPETH_LANDSCAPE__URL"
"""Names the database where --db is not given; in settings it overrides `landscape.url`."""

_LONGEST_TIMEOUT = 31_536_000.0
"""A year in seconds; the timer of the system refuses some larger numbers, and infinity."""

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help=f"SQLAlchemy URL of the database. Default: the variable {DATABASE_VARIABLE}.",
    ),
]

KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file that holds the signing key."),
]

KeyringFile = Annotated[
    Path | None,
    typer.Option(
        "--keyring", metavar="FILE", help="A file of keys, one per line, of which one must fit."
    ),
]

Attest = Annotated[bool, typer.Option("--attest", help="Write an attestation beside the export.")]

AttestationKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Attest with this Ed25519 private key (PEM)."),
]

LeaveOut = Annotated[
    list[str] | None,
    typer.Option(
        "--leave-out",
        metavar="NAMES",
        help="Tables and table.columns that are unknown here, to leave out; repeatable.",
    ),
]

MaxLineBytes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**31,
        show_default="64 MiB",
        help="The length of the longest line that is read.",
    ),
]

Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001, max=_LONGEST_TIMEOUT, metavar="SECONDS", help="Stop when it takes longer."
    ),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document instead (docs/landscape.schema.json)."),
]


def database_url(db: str | None) -> str:
    """Return the URL of --db, or else of the environment.

    Raises:
        UsageError: neither is given.
    """
    url = os.environ.get(DATABASE_VARIABLE, "") if db is None else db
    if db is None and not url:
        raise UsageError(
            f"Missing option '--db': name the database, or set {DATABASE_VARIABLE} "
            "(--help shows what there is)"
        )
    return url


def refuse_unused_key(key_file: Path | None, *, is_used: bool) -> None:
    """Refuse a key that would sign nothing: its user would take the export for a signed one.

    Raises:
        UsageError: there is such a key.
    """
    if key_file is not None and not is_used:
        raise UsageError(
            "--key-file names a key that nothing would be signed with; add --sign "
            "(landscape.export.sign in settings), or leave it out"
        )
