"""The signing key from the environment or a file: its bytes, length and protection."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
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
    """Drop root's power to read any file, so that permissions apply."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def refusal(path: Path, content: bytes = KEY) -> str:
    """Return why a key file is refused, and assert that the message does not show the key."""
    with pytest.raises(SigningKeyError) as caught:
        read_key_file(path)
    said = str(caught.value)
    assert str(path) in said
    shown = {content[at : at + 4] for at in range(len(content) - 3)}
    assert not any(part in said.encode("utf-8", "surrogateescape") for part in shown)
    return said


TEXT = "0123456789abcdef" * 4


@pytest.mark.parametrize("read", [read_key_file, read_keyring])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (f"{TEXT}\r\n".encode(), "CRLF"),
        (f"{TEXT}\r\n{TEXT}\n".encode(), "CRLF"),
        (TEXT.encode("utf-8-sig"), "byte order mark"),
        (f"{TEXT}\r\n".encode("utf-16"), "byte order mark"),
    ],
)
def test_bytes_that_an_editor_adds_to_text_are_no_part_of_a_key(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, named: str
) -> None:
    with pytest.raises(SigningKeyError, match=named):
        read(secret_file(tmp_path / "key", content))


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\xff\xfe", b""])
def test_such_bytes_of_a_random_key_belong_to_it(tmp_path: Path, start: bytes, end: bytes) -> None:
    content = start + KEY + end
    key = read_key_file(secret_file(tmp_path / "key", content))
    assert key == content.removesuffix(b"\n")


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

    def test_a_key_file_takes_precedence_over_the_environment(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "key")
        assert signing_key({KEY_VARIABLE: "s" * 32}, path) == KEY


class TestKeyFile:
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
    def test_any_bytes_of_the_file_are_the_key(self, tmp_path: Path, mode: int) -> None:
        assert read_key_file(secret_file(tmp_path / "key", mode=mode)) == KEY

    @pytest.mark.parametrize(
        ("end", "kept"),
        [(b"\n", b""), (b"\n\n", b"\n"), (b"\r\n", b"\r"), (b" ", b" ")],
        ids=["one newline", "two newlines", "CR LF", "a blank"],
    )
    def test_only_one_newline_at_the_end_is_removed(
        self, tmp_path: Path, end: bytes, kept: bytes
    ) -> None:
        assert read_key_file(secret_file(tmp_path / "key", KEY + end)) == KEY + kept

    @pytest.mark.parametrize("content", [b"", b"\n", b"k" * 31, b"k" * 31 + b"\n"])
    def test_a_file_with_a_short_key_is_refused(self, tmp_path: Path, content: bytes) -> None:
        said = refusal(secret_file(tmp_path / "key", content), content)
        assert f"has {len(content.rstrip())} bytes; at least 32 are needed" in said

    def test_files_of_up_to_64_kibibytes_are_read(self, tmp_path: Path) -> None:
        largest = b"k" * 2**16
        assert read_key_file(secret_file(tmp_path / "key", largest)) == largest
        said = refusal(secret_file(tmp_path / "larger", largest + b"k"))
        assert said.endswith("is larger than 65,536 bytes, so it is not a key file")

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666])
    def test_a_file_open_to_everyone_is_refused_with_the_advice_to_change_the_key(
        self, tmp_path: Path, mode: int
    ) -> None:
        said = refusal(secret_file(tmp_path / "key", mode=mode))
        assert said.endswith("is open to everyone; chmod 600 it, and change the key")

    def test_a_symbolic_link_to_a_key_file_is_refused(self, tmp_path: Path) -> None:
        secret_file(tmp_path / "key")
        (tmp_path / "link").symlink_to(tmp_path / "key")
        assert refusal(tmp_path / "link").endswith("is a symbolic link; name the key file itself")

    def test_a_pipe_is_refused_without_blocking(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "key", 0o600)
        assert refusal(tmp_path / "key").endswith("is not a regular file")

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "key").mkdir(mode=0o700)
        assert refusal(tmp_path / "key").endswith("is not a regular file")

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "key").endswith("cannot be read: No such file or directory")

    def test_an_unreadable_file_is_refused(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "key", mode=0o200)
        with as_nobody():
            said = refusal(path)
        assert said.endswith("cannot be read: Permission denied")


class TestKeyring:
    def test_keys_are_read_in_order_and_empty_lines_are_skipped(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "keys", b"\n" + KEY + b"\n\n" + b"j" * 32 + b"\n")
        assert read_keyring(path) == Keyring((KEY, b"j" * 32))

    def test_a_keyring_does_not_show_its_keys(self) -> None:
        assert repr(Keyring((b"k" * 32,))) == "Keyring()"

    @pytest.mark.parametrize("content", [b"", b"\n\n"])
    def test_a_keyring_without_keys_is_refused(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(SigningKeyError, match=r"keys holds no keys: write one per line"):
            read_keyring(secret_file(tmp_path / "keys", content))

    def test_a_short_key_in_it_is_refused_and_its_line_named(self, tmp_path: Path) -> None:
        path = secret_file(tmp_path / "keys", b"k" * 32 + b"\n" + b"j" * 31 + b"\n")
        with pytest.raises(SigningKeyError, match=r"keys, line 2 has 31 bytes") as caught:
            read_keyring(path)
        assert "jj" not in str(caught.value)

    def test_a_keyring_file_is_protected_like_a_key_file(self, tmp_path: Path) -> None:
        with pytest.raises(SigningKeyError, match="is open to everyone"):
            read_keyring(secret_file(tmp_path / "keys", mode=0o644))


def test_the_public_name_of_a_key_is_short_and_not_a_part_of_the_key() -> None:
    keys = [bytes([first]) * 32 for first in range(256)]
    names = {key_id(key) for key in keys}
    assert len(names) == 256
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in names)
    assert not any(key_id(key) in key.hex() for key in keys)
