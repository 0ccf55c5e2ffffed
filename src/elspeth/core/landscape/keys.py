"""The signing key as commands take it: from the environment or a file, never from an argument."""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elspeth.core.landscape.export.signed_lines import MINIMUM_KEY_BYTES
from elspeth.core.safe_open import opened_regular

KEY_VARIABLE = "ELSPETH_SIGNING_KEY"
_MOST_BYTES = 2**16
_ID_DIGITS = 8


class SigningKeyError(ValueError):
    """There is no usable signing key. The message never holds any part of one."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys of which one may have signed an export: this year's, and those before it."""

    keys: tuple[bytes, ...] = field(repr=False)


def key_id(key: bytes) -> str:
    """Name a key in public: the first 8 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:_ID_DIGITS]


def signing_key(environ: Mapping[str, str], key_file: Path | None = None) -> bytes:
    """Return the key in a file, or else the one in the environment: its value's UTF-8 bytes.

    Raises SigningKeyError when there is none, or one that is shorter than 32 bytes.
    """
    if key_file is not None:
        return read_key_file(key_file)
    value = environ.get(KEY_VARIABLE)
    if value is None:
        raise SigningKeyError(
            f"No signing key: set {KEY_VARIABLE} to at least {MINIMUM_KEY_BYTES} bytes, or name "
            "a file with --key-file"
        )
    return long_enough(value.encode("utf-8", "surrogateescape"), KEY_VARIABLE)


def read_key_file(path: Path) -> bytes:
    """Return the key in a file: its bytes, less one newline at the end.

    Raises SigningKeyError for a file that cannot be read, is no regular one, a symbolic link, open
    to everyone, or too short.
    """
    content = read_secret(path)
    return long_enough(content.removesuffix(b"\n"), str(path))


def read_keyring(path: Path) -> Keyring:
    """Return the keys in a file, one a line, in that order; empty lines are passed over.

    A key is its line's bytes, as in a key file. Raises what `read_key_file` raises, for any of
    them, and SigningKeyError when there is none.
    """
    lines = enumerate(read_secret(path).split(b"\n"), start=1)
    keys = tuple(long_enough(key, f"{path}, line {line}") for line, key in lines if key)
    if not keys:
        raise SigningKeyError(f"There is no key in {path}: write one a line")
    return Keyring(keys)


def read_secret(path: Path) -> bytes:
    """Read a small file that only its owner, and perhaps a group, may see."""
    try:
        with opened_regular(path) as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise SigningKeyError(
                    f"{path} is open to everyone; chmod 600 it, and change the key"
                )
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SigningKeyError(f"{path} is a symbolic link; name the key file itself") from error
        raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise SigningKeyError(f"{path} is larger than {_MOST_BYTES:,} bytes, and no key file")
    return content


def long_enough(key: bytes, where: str) -> bytes:
    """Return a key unless it is too short to be one."""
    if len(key) < MINIMUM_KEY_BYTES:
        raise SigningKeyError(
            f"The signing key in {where} has {len(key)} bytes; "
            f"at least {MINIMUM_KEY_BYTES} are needed"
        )
    return key
