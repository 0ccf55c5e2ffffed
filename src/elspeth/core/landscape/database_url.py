"""Parse the URL of an audit trail's database, and show one without its passwords."""

from contextlib import suppress

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

_SECRETS_IN_QUERY = ("password", "sslpassword")


def masked_url(url: str) -> str:
    """Return a database URL without passwords, or a placeholder when it does not parse."""
    # A text that does not parse may still hold a password, so no part of it is shown.
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(not a database URL)"
    return parsed.difference_update_query(_SECRETS_IN_QUERY).render_as_string(hide_password=True)


def parse_database_url(text: str) -> URL:
    """Return the URL of a database that an audit trail can be in.

    Raises:
        ValueError: The text is no URL, or one of another database or of an asynchronous driver.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # SQLAlchemy's message repeats the text, and any password in it.
        raise ValueError(
            "Not a database URL: expected one like sqlite:///path/to/audit.db "
            "or postgresql://user@host/database"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(
            f"A Landscape database is SQLite or PostgreSQL, not {url.get_backend_name()}"
        )
    with suppress(NoSuchModuleError):  # reported when the engine is made
        if url.get_dialect().is_async:
            raise ValueError(f"{url.drivername} is asynchronous: use sqlite or postgresql+psycopg")
    return url
