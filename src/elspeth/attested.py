"""What the options about attestations ask for: who attests an export, and who can read that.

Only here is it known that Ed25519 needs an extra.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elspeth.command import UsageError
from elspeth.core.landscape.attestation import Attester, HmacSeal, Opener
from elspeth.core.landscape.keys import Keyring

if TYPE_CHECKING:
    from types import ModuleType


def attester(
    signing_key: bytes | None, private_key: Path | None, keyring: Keyring | None
) -> Attester:
    """Attest with the private key in a file, or else with the signing key.

    Attestations under the keys of the ring may stand before the new one. Raises UsageError and
    SigningKeyError.
    """
    earlier = tuple(map(HmacSeal, keyring.keys)) if keyring is not None else ()
    if private_key is not None:
        return Attester(_ed25519().read_seal(private_key), earlier)
    if signing_key is None:
        raise UsageError("--attest needs a signing key, or --attestation-key")
    return Attester(HmacSeal(signing_key), earlier)


def openers(key: bytes | Keyring | None, public_key: Path | None) -> Sequence[Opener]:
    """Read attestations by the public key in a file, and by no other; or else by signing keys.

    Raises UsageError and SigningKeyError.
    """
    if public_key is not None:
        return (_ed25519().read_opener(public_key),)
    if key is None:
        raise UsageError("--attestation needs a signing key, or --attestation-public-key")
    return tuple(map(HmacSeal, key.keys if isinstance(key, Keyring) else (key,)))


def _ed25519() -> "ModuleType":
    try:
        from elspeth.core.landscape.attestation import ed25519
    except ImportError as error:
        raise UsageError(
            f"Ed25519 keys need a package ({error}): pip install 'elspeth-landscape[attest]'"
        ) from error
    return ed25519
