"""Turns the key options of commands into keys: signing keys, keyrings and attestation keys."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from elspeth.cli.runtime import UsageError
from elspeth.core.extras import extra_hint
from elspeth.core.landscape.keys import (
    KEY_VARIABLE,
    MINIMUM_KEY_BYTES,
    Keyring,
    ShortKeyError,
    read_keyring,
    signing_key,
)

# Attestations are imported when one is asked for: to verify an export needs none.
if TYPE_CHECKING:
    from elspeth.core.landscape.attestation import Attester, VerificationKey


def chosen_attester(
    attest: bool, private_key: Path | None, key_file: Path | None, keyring: Path | None
) -> "Attester | None":
    """Return the attester that the options describe; None when they request no attestation.

    Args:
        attest: `--attest`.
        private_key: `--attestation-key`, an Ed25519 key that signs instead of the signing key.
        key_file: `--key-file`, the file of the signing key.
        keyring: `--keyring`, the keys of attestations before a rotation.

    Raises:
        UsageError: the options contradict each other.
        SigningKeyError: a key is missing or unusable.
    """
    if not attest and private_key is None:
        if keyring is not None:
            raise UsageError("--keyring is for --attest here; leave it out")
        return None
    from elspeth.core.landscape.attestation import Attester, HmacSigner

    # The chain goes on after a rotation, so the previous attestation may be under an older key.
    earlier = () if keyring is None else tuple(map(HmacSigner, read_keyring(keyring).keys))
    if private_key is not None:
        return Attester(_ed25519().read_private_key(private_key), earlier)
    return Attester(HmacSigner(signing_key(os.environ, key_file)), earlier)


def chosen_verification_key(
    key_file: Path | None,
    keyring: Path | None,
    *,
    is_optional: bool,
    allow_short_key: bool = False,
) -> bytes | Keyring | None:
    """Return the key or keyring to verify an export with.

    Args:
        key_file: `--key-file`.
        keyring: `--keyring`.
        is_optional: return None instead of raising when no key is given, because an unsigned
            export is allowed or an attestation covers the bytes.
        allow_short_key: `--allow-short-key`, which accepts a key of 1 byte or more.

    Raises:
        UsageError: the options contradict each other.
        SigningKeyError: a key is missing or unusable.
    """
    if keyring is not None and key_file is not None:
        raise UsageError("--key-file is one key, --keyring several; leave one of them out")
    at_least = 1 if allow_short_key else MINIMUM_KEY_BYTES
    try:
        return _read_keys(key_file, keyring, is_optional=is_optional, at_least=at_least)
    except ShortKeyError as error:
        # The original exporter accepts such a key.
        raise ShortKeyError(f"{error}; --allow-short-key verifies with it all the same") from None


def reconciling_keys(keyring: Path, key_file: Path | None) -> Keyring:
    """Return the keys of which one may have signed a pending export.

    Args:
        keyring: `--keyring`.
        key_file: `--key-file`, whose key signs attestations and may have signed an export too.

    Raises:
        SigningKeyError: a key is unusable.
    """
    own = () if key_file is None else (signing_key(os.environ, key_file),)
    return Keyring((*own, *read_keyring(keyring).keys))


def _read_keys(
    key_file: Path | None, keyring: Path | None, *, is_optional: bool, at_least: int
) -> bytes | Keyring | None:
    if keyring is not None:
        return read_keyring(keyring, at_least=at_least)
    # A key that is given is used even where it is optional: the signatures are then checked.
    has_key = key_file is not None or KEY_VARIABLE in os.environ
    if not has_key and is_optional:
        return None
    return signing_key(os.environ, key_file, at_least=at_least)


def attestation_keys(
    key: bytes | Keyring | None, public_key: Path | None
) -> "Sequence[VerificationKey]":
    """Return the keys that attestations are verified with.

    Args:
        key: the signing key or keyring.
        public_key: `--attestation-public-key`, which is then the only accepted key.

    Raises:
        UsageError: neither key is given.
        SigningKeyError: the public key is unusable.
    """
    # Not in addition to the HMAC keys: their holders could forge an attestation, and an auditor
    # names the public key to exclude that.
    if public_key is not None:
        return (_ed25519().read_public_key(public_key),)
    if key is None:
        raise UsageError("--attestation needs a signing key, or --attestation-public-key")
    from elspeth.core.landscape.attestation import HmacSigner

    return tuple(map(HmacSigner, key.keys if isinstance(key, Keyring) else (key,)))


def _ed25519() -> ModuleType:
    # Imported on use: the package behind it is an extra, and loading it takes time.
    try:
        from elspeth.core.landscape.attestation import ed25519
    except ImportError as error:
        raise UsageError(
            f"Ed25519 keys need a package ({error}): {extra_hint('attest')}"
        ) from error
    return ed25519
