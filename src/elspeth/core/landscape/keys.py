"""The signing key as commands take it: from the environment, never from an argument."""

from collections.abc import Mapping

from elspeth.core.landscape.signing import MINIMUM_KEY_BYTES

KEY_VARIABLE = "ELSPETH_SIGNING_KEY"


class SigningKeyError(ValueError):
    """There is no usable signing key. The message never holds any part of one."""


def signing_key(environ: Mapping[str, str]) -> bytes:
    """Return the key that the environment holds, as the UTF-8 bytes of its value.

    Raises SigningKeyError when it is not set or shorter than 32 bytes.
    """
    value = environ.get(KEY_VARIABLE)
    if value is None:
        raise SigningKeyError(
            f"No signing key: set {KEY_VARIABLE} to at least {MINIMUM_KEY_BYTES} bytes"
        )
    key = value.encode("utf-8", "surrogateescape")
    if len(key) < MINIMUM_KEY_BYTES:
        raise SigningKeyError(
            f"The signing key in {KEY_VARIABLE} has {len(key)} bytes; "
            f"at least {MINIMUM_KEY_BYTES} are needed"
        )
    return key
