"""Reads the signing key from the environment or a file; it is never a command-line argument."""

import codecs
import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from elspeth.core.safe_open import opened_regular

KEY_VARIABLE = "ELSPETH_SIGNING_KEY"
MINIMUM_KEY_BYTES = 32
"""The output length of SHA-256: RFC 2104 advises against shorter HMAC keys."""

# Room for a keyring of 1,000 keys in hexadecimal; a larger file was named by mistake.
MOST_KEY_FILE_BYTES = 2**16
# Enough to distinguish a user's keys; reveals nothing of a random key.
_ID_DIGITS = 8
# What some editors write before a text: it is not a part of the key that a user sees.
_EDITOR_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class SigningKeyError(ValueError):
    """The signing key is missing or unusable. The message never holds any part of a key."""


class ShortKeyError(SigningKeyError):
    """The signing key is shorter than 32 bytes, and not empty."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys of which one may have signed an export: the current key and earlier ones."""

    keys: tuple[bytes, ...] = field(repr=False)


def key_id(key: bytes) -> str:
    """Return a key's public name: the first 8 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:_ID_DIGITS]


def signing_key(
    environ: Mapping[str, str],
    key_file: Path | None = None,
    *,
    at_least: int = MINIMUM_KEY_BYTES,
) -> bytes:
    """Return the key in a file, or else the key in the environment, as UTF-8 bytes.

    Args:
        environ: the environment; the variable is ELSPETH_SIGNING_KEY.
        key_file: a file for `read_key_file`; it takes precedence over the environment.
        at_least: the length in bytes that a key must have. Less than 32 is for verifying what the
            original exporter signed, which accepts every key.

    Raises:
        SigningKeyError: the key is missing or too short, or `read_key_file` refuses the file.
    """
    if key_file is not None:
        return read_key_file(key_file, at_least=at_least)
    value = environ.get(KEY_VARIABLE)
    if value is None:
        raise SigningKeyError(
            f"No signing key: set {KEY_VARIABLE} to at least {MINIMUM_KEY_BYTES} bytes, or name "
            "a file with --key-file"
        )
    # os.environ holds bytes that are not UTF-8 as surrogates; this restores the original bytes.
    return _refuse_short_key(value.encode("utf-8", "surrogateescape"), KEY_VARIABLE, at_least)


def read_key_file(path: Path, *, at_least: int = MINIMUM_KEY_BYTES) -> bytes:
    """Return the key in a file: its bytes without one newline at the end.

    Args:
        path: the file.
        at_least: as in `signing_key`.

    Raises:
        SigningKeyError: the file cannot be read, is not a regular file, is a symbolic link, is
            open to everyone, or holds a key that is too short, or text with bytes that an editor
            has added to a key.
    """
    content = read_secret_file(path)
    _refuse_editor_bytes(content, str(path))
    # Editors and `openssl rand -hex` end a file with a newline. Only one is removed, since the
    # bytes of a random key may end with another.
    return _refuse_short_key(content.removesuffix(b"\n"), str(path), at_least)


def read_keyring(path: Path, *, at_least: int = MINIMUM_KEY_BYTES) -> Keyring:
    """Return the keys in a file, one per line and in that order; empty lines are skipped.

    Args:
        path: the file.
        at_least: as in `signing_key`.

    Raises:
        SigningKeyError: the file holds no keys, or `read_key_file` would refuse the file or one of
            the keys.
    """
    content = read_secret_file(path)
    _refuse_editor_bytes(content, str(path))
    lines = enumerate(content.split(b"\n"), start=1)
    keys = tuple(
        _refuse_short_key(key, f"{path}, line {line}", at_least) for line, key in lines if key
    )
    if not keys:
        raise SigningKeyError(f"{path} holds no keys: write one per line")
    return Keyring(keys)


def read_secret_file(path: Path) -> bytes:
    """Read a file of at most 64 KiB that only its owner and group can access.

    Raises:
        SigningKeyError: the file is unsafe or cannot be read.
    """
    try:
        with opened_regular(path) as file:
            # On the open descriptor: the path may name another file a moment later.
            if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise SigningKeyError(
                    f"{path} is open to everyone; chmod 600 it, and change the key"
                )
            content = file.read(MOST_KEY_FILE_BYTES + 1)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SigningKeyError(f"{path} is a symbolic link; name the key file itself") from error
        raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_KEY_FILE_BYTES:
        raise SigningKeyError(
            f"{path} is larger than {MOST_KEY_FILE_BYTES:,} bytes, so it is not a key file"
        )
    return content


def _refuse_editor_bytes(content: bytes, where: str) -> None:
    """Refuse text with bytes of an editor: nobody who knows the key would know them."""
    # Only text: the bytes of a random key may be any.
    for mark, encoding in _EDITOR_MARKS:
        if content.startswith(mark):
            with suppress(UnicodeDecodeError):
                if content.decode(encoding).isascii():
                    raise SigningKeyError(
                        f"{where} is text of an editor, which has put a byte order mark before "
                        "the key; save it as plain text (ASCII, or UTF-8 without BOM)"
                    )
    lines = content.split(b"\n")
    if content.isascii() and b"\0" not in content and any(each.endswith(b"\r") for each in lines):
        raise SigningKeyError(
            f"{where} has line ends of Windows (CRLF), whose CR would be a part of the key; "
            f"save it with LF. What was signed with that CR is verified with {KEY_VARIABLE}"
        )


def _refuse_short_key(key: bytes, where: str, at_least: int) -> bytes:
    if len(key) < at_least:
        kind = ShortKeyError if key else SigningKeyError
        raise kind(
            f"The signing key in {where} has {len(key)} bytes; at least {at_least} are needed"
        )
    return key
