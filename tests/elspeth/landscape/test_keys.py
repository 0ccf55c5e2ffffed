"""The signing key as commands take it: from the environment or a file, and long enough."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elspeth.core.landscape.keys import (
    KEY_VARIABLE,
    Keyring,
    SigningKeyError,
    key_id,
    read_key_file,
    read_keyring,
    signing_key,
)

KEY = bytes(range(32, 72)).replace(b"\n", b"") + b"\xff\xfe"
"""Distinctive bytes, not all of them text."""


def secret_file(path: Path, content: bytes = KEY, *, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be someone whom permissions hold back, also where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def refusal(path: Path, content: bytes = KEY) -> str:
    """Why a key file is refused, in words that show nothing of it."""
    with pytest.raises(SigningKeyError) as caught:
        read_key_file(path)
    said = str(caught.value)
    assert str(path) in said
    shown = {content[at : at + 4] for at in range(len(content) - 3)}
    assert not any(part in said.encode("utf-8", "surrogateescape") for part in shown)
    return said


class TestEnvironment:
    def test_the_key_is_the_utf8_bytes_of_the_variable(self) -> None:
        assert signing_key({KEY_VARIABLE: "é" * 16}) == "é".encode() * 16

    def test_a_missing_key_is_refused_and_both_ways_to_give_one_are_named(self) -> None:
        with pytest.raises(SigningKeyError, match=r"ELSPETH_SIGNING_KEY.*--key-file"):
            signing_key({})

    @pytest.mark.parametrize("length", [0, 1, 31])
    def test_a_key_shorter_than_32_bytes_is_refused_and_not_shown(self, length: int) -> None:
        with pytest.raises(SigningKeyError, match=f"has {length} bytes; at least 32") as caught:
            signing_key({KEY_VARIABLE: "s" * length})
        assert "ss" not in str(caught.value)

    def test_a_key_of_32_bytes_is_enough(self) -> None:
        assert signing_key({KEY_VARIABLE: "s" * 32}) == b"s" * 32

    def test_bytes_that_are_not_utf8_are_taken_as_they_are(self) -> None:
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

    def test_a_key_file_goes_before_it(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "key")
        assert signing_key({KEY_VARIABLE: "s" * 32}, path) == KEY


class TestKeyFile:
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
    def test_its_bytes_are_the_key_whatever_they_are(self, tmp_path: Path, mode: int) -> None:
        assert read_key_file(secret_file(tmp_path / "key", mode=mode)) == KEY

    @pytest.mark.parametrize(
        ("end", "kept"),
        [(b"\n", b""), (b"\n\n", b"\n"), (b"\r\n", b"\r"), (b" ", b" ")],
        ids=["one newline", "two newlines", "CR LF", "a blank"],
    )
    def test_one_newline_at_its_end_is_no_part_of_it_and_nothing_else_is_left_out(
        self, tmp_path: Path, end: bytes, kept: bytes
    ) -> None:
        assert read_key_file(secret_file(tmp_path / "key", KEY + end)) == KEY + kept

    @pytest.mark.parametrize("content", [b"", b"\n", b"k" * 31, b"k" * 31 + b"\n"])
    def test_one_that_is_too_short_is_refused(self, tmp_path: Path, content: bytes) -> None:
        said = refusal(secret_file(tmp_path / "key", content), content)
        assert f"has {len(content.rstrip())} bytes; at least 32 are needed" in said

    def test_64_kibibytes_are_read_and_no_more(self, tmp_path: Path) -> None:
        largest = b"k" * 2**16
        assert read_key_file(secret_file(tmp_path / "key", largest)) == largest
        said = refusal(secret_file(tmp_path / "larger", largest + b"k"))
        assert said.endswith("is larger than 65,536 bytes, and no key file")

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666])
    def test_one_that_is_open_to_everyone_is_refused_and_counts_as_lost(
        self, tmp_path: Path, mode: int
    ) -> None:
        said = refusal(secret_file(tmp_path / "key", mode=mode))
        assert said.endswith("is open to everyone; chmod 600 it, and change the key")

    def test_a_symbolic_link_is_refused_even_to_a_good_one(self, tmp_path: Path) -> None:
        secret_file(tmp_path / "key")
        (tmp_path / "link").symlink_to(tmp_path / "key")
        assert refusal(tmp_path / "link").endswith("is a symbolic link; name the key file itself")

    def test_a_pipe_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "key", 0o600)
        assert refusal(tmp_path / "key").endswith("is not a regular file")

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "key").mkdir(mode=0o700)
        assert refusal(tmp_path / "key").endswith("is not a regular file")

    def test_a_missing_one_is_refused(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "key").endswith("cannot be read: No such file or directory")

    def test_one_that_may_not_be_read_is_refused(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "key", mode=0o200)
        with as_nobody():
            said = refusal(path)
        assert said.endswith("cannot be read: Permission denied")


class TestKeyring:
    def test_there_is_one_key_a_line_in_their_order_and_empty_lines_are_passed_over(
        self, tmp_path: Path
    ) -> None:
        path = secret_file(tmp_path / "keys", b"\n" + KEY + b"\n\n" + b"j" * 32 + b"\n")
        assert read_keyring(path) == Keyring((KEY, b"j" * 32))

    def test_it_shows_no_key(self) -> None:
        assert repr(Keyring((b"k" * 32,))) == "Keyring()"

    @pytest.mark.parametrize("content", [b"", b"\n\n"])
    def test_one_without_keys_is_refused(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(SigningKeyError, match=r"There is no key in .*: write one a line"):
            read_keyring(secret_file(tmp_path / "keys", content))

    def test_a_short_key_in_it_is_refused_and_its_line_named(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "keys", b"k" * 32 + b"\n" + b"j" * 31 + b"\n")
        with pytest.raises(SigningKeyError, match=r"keys, line 2 has 31 bytes") as caught:
            read_keyring(path)
        assert "jj" not in str(caught.value)

    def test_it_is_guarded_like_a_key_file(self, tmp_path: Path) -> None:
        with pytest.raises(SigningKeyError, match="is open to everyone"):
            read_keyring(secret_file(tmp_path / "keys", mode=0o644))


def test_a_keys_public_name_is_short_and_no_part_of_it() -> None:
    keys = [bytes([first]) * 32 for first in range(256)]
    names = {key_id(key) for key in keys}
    assert len(names) == 256
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in names)
    assert not any(key_id(key) in key.hex() for key in keys)
