"""The signing key as commands take it: from the environment, and long enough."""

import os
import subprocess
import sys

import pytest

from elspeth.core.landscape.keys import KEY_VARIABLE, SigningKeyError, signing_key


def test_the_key_is_the_utf8_bytes_of_the_variable() -> None:
    assert signing_key({KEY_VARIABLE: "é" * 16}) == "é".encode() * 16


def test_a_missing_key_is_refused_and_the_variable_named() -> None:
    with pytest.raises(SigningKeyError, match="ELSPETH_SIGNING_KEY"):
        signing_key({})


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_key_shorter_than_32_bytes_is_refused_and_not_shown(length: int) -> None:
    with pytest.raises(SigningKeyError, match=f"has {length} bytes; at least 32") as caught:
        signing_key({KEY_VARIABLE: "s" * length})
    assert "ss" not in str(caught.value)


def test_a_key_of_32_bytes_is_enough() -> None:
    assert signing_key({KEY_VARIABLE: "s" * 32}) == b"s" * 32


def test_bytes_of_the_environment_that_are_not_utf8_are_taken_as_they_are() -> None:
    program = (
        "import os; from elspeth.core.landscape.keys import signing_key;"
        "print(signing_key(os.environ).hex())"
    )
    key = b"\xff\xfe" * 20
    environ = {**os.environb, KEY_VARIABLE.encode(): key}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == key.hex()
