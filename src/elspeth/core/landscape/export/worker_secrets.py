"""What a worker of a parallel export needs and no task carries: the key and a password."""

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes

from sqlalchemy import URL

KEY_VARIABLE = "ELSPETH_SIGNING_KEY"
"""Where a worker of a given executor finds the signing key in its environment."""

_IN_MEMORY = (None, "", ":memory:")
_PASSWORDS_IN_QUERY = ("password", "sslpassword")
_SALT_BYTES = 16


def worker_url(url: URL) -> URL:
    """Return the URL, passwords included, with which a worker opens the database for reading.

    Raises:
        ValueError: The database is in memory, so another process cannot open it.
    """
    # An absolute path, for a worker with another working directory. Read-only, so that a file that
    # has been removed is an error and is not created again.
    if url.get_backend_name() == "sqlite":
        if url.database in _IN_MEMORY:
            raise ValueError("A database in memory is seen by one process: use a file")
        if "uri" not in url.query:
            url = url.set(database=Path(str(url.database)).absolute().as_uri())
        url = url.update_query_dict({"mode": "ro", "uri": "true"})
    return url


class WorkerSecretError(ValueError):
    """A worker's environment lacks the signing key, or holds another one. Nothing was published."""


@dataclass(frozen=True)
class Secrets:
    """What a worker needs and no task carries.

    Attributes:
        database_url: The URL of the database with its password.
        signing_key: Signs the records; None leaves them unsigned.
    """

    database_url: str = field(repr=False)
    signing_key: bytes | None = field(repr=False)


# Those of a process that `worker_processes` has started. A worker of another executor has none.
_given: list[Secrets] = []


def give_secrets(secrets: Secrets | None) -> None:
    """Set the secrets that tasks in this process use; None for those of the environment."""
    _given[:] = () if secrets is None else (secrets,)


@dataclass(frozen=True, slots=True)
class KeyProof:
    """Tells whether a worker has the signing key of its parent, and does not reveal the key."""

    salt: bytes
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, key: bytes) -> "KeyProof":
        """Return a proof of a key with a new salt."""
        salt = token_bytes(_SALT_BYTES)
        return cls(salt, hmac.digest(key, salt, "sha256"))

    def fits(self, key: bytes) -> bool:
        """Whether this is a proof of `key`."""
        return hmac.compare_digest(self.digest, hmac.digest(key, self.salt, "sha256"))


def has_given_secrets() -> bool:
    """Whether `give_secrets` has set the secrets of this process."""
    return bool(_given)


def public_url(url: URL) -> str:
    """Return a URL without passwords."""
    # `set(password=None)` would leave the password as it is.
    without = URL.create(
        drivername=url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    )
    return without.difference_update_query(_PASSWORDS_IN_QUERY).render_as_string()


def secrets_of_worker(database_url: str, key_proof: KeyProof | None) -> Secrets:
    """Return the secrets for a task: those given to the process, or those of its environment.

    Args:
        database_url: The URL in the task. libpq adds PGPASSWORD or PGPASSFILE by itself.
        key_proof: Of the key that the worker needs; None to sign nothing.

    Raises:
        WorkerSecretError: The environment lacks the signing key, or holds another one.
    """
    if _given:
        return _given[0]
    if key_proof is None:
        return Secrets(database_url, None)
    value = os.environ.get(KEY_VARIABLE)
    if value is None:
        raise WorkerSecretError(
            f"A worker has no signing key: set {KEY_VARIABLE} in the environment of the workers; "
            "no key travels with a task"
        )
    key = value.encode("utf-8", "surrogateescape")
    if not key_proof.fits(key):
        raise WorkerSecretError(f"{KEY_VARIABLE} of a worker is not the signing key of this export")
    return Secrets(database_url, key)
