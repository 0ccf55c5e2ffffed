"""Every small change to a signed export of 100 records is found: all of them, counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import combinations, islice

import pytest
from sample_run import KEY
from signed_exports import EVERY_TYPE, as_export, export_lines, records_of, shortened

from elspeth.core.landscape.verification.defects import ParsedLine
from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier
from elspeth.core.landscape.verification.verifier import Verifier
from elspeth.core.landscape.verification.verify import Reason, Verification


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A signed export of 100 records and its manifest, with short ids and hashes."""
    exported = export_lines(tmp_path_factory.mktemp("export"))
    lines = as_export(shortened(records_of(exported))).splitlines(keepends=True)
    assert len(lines) == 101
    assert verified(lines).ok
    return lines


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A signed export of another run, under the same id."""
    return export_lines(tmp_path_factory.mktemp("other"), replace(EVERY_TYPE, seed=1, rows=3))


def verified(lines: Iterable[bytes]) -> Verification:
    """Verify an export that is not on disk."""
    return judged(read_jsonl(BytesIO(b"".join(lines))))


def judged(readings: Iterable[ParsedLine]) -> Verification:
    verifier = Verifier(SignatureVerifier(AcceptedSignatures((KEY,))))
    for line in readings:
        verifier.check(line)
    return verifier.result()


def reasons(found: Verification) -> set[Reason]:
    return {defect.reason for defect in found.defects}


def all_rejected(what: str, verdicts: Iterable[bool]) -> None:
    """Print how many changes were found, and fail unless that is all of them."""
    found = list(verdicts)
    print(f"\n{what}: {found.count(False)}/{len(found)} rejected")  # noqa: T201 - the report
    assert len(found) > 100
    assert not any(found)


class TestLines:
    """Changes of whole lines, which leave every signature right."""

    def test_every_dropped_line_is_found(self, lines: list[bytes]) -> None:
        at = range(len(lines))
        all_rejected("lines dropped", (verified(lines[:i] + lines[i + 1 :]).ok for i in at))

    def test_every_duplicated_line_is_found(self, lines: list[bytes]) -> None:
        at = range(len(lines))
        all_rejected("lines duplicated", (verified(lines[: i + 1] + lines[i:]).ok for i in at))

    def test_every_swap_of_two_lines_is_found(self, lines: list[bytes]) -> None:
        readings = list(read_jsonl(BytesIO(b"".join(lines))))
        all_rejected(
            "lines swapped",
            (judged(swapped(readings, *pair)).ok for pair in combinations(range(101), 2)),
        )

    def test_every_truncation_between_two_lines_is_found(self, lines: list[bytes]) -> None:
        all_rejected("truncations", (verified(lines[:i]).ok for i in range(len(lines))))


class TestTwoExports:
    """Combinations of two valid exports that name the same run."""

    def test_every_splice_is_found(self, lines: list[bytes], other: list[bytes]) -> None:
        heads = (
            (one[:i], other)
            for one, other in ((lines, other), (other, lines))
            for i in range(1, 101)
        )
        spliced = (head + rest[len(head) :] for head, rest in heads)
        all_rejected("splices", (verified(each).ok for each in spliced))

    def test_a_manifest_of_another_export_is_found(
        self, lines: list[bytes], other: list[bytes]
    ) -> None:
        assert reasons(verified([*lines[:-1], other[-1]])) == {Reason.COUNT, Reason.HASH}

    @pytest.mark.parametrize("again", [False, True])
    def test_an_export_before_or_behind_another_is_found(
        self, lines: list[bytes], other: list[bytes], again: bool
    ) -> None:
        second = lines if again else other
        for both in (lines + second, second + lines):
            assert reasons(verified(both)) == {Reason.TRAILING_DATA}

    def test_an_export_behind_another_without_its_manifest_is_found(
        self, lines: list[bytes], other: list[bytes]
    ) -> None:
        found = verified(lines[:-1] + other)
        assert str(found.defects[0]) == "line 101: ORDER: a second run"


class TestBytes:
    """Changes within a line.

    Nothing before it changes and it is rejected by itself, so the lines around it are left out:
    what reading it or its signature finds, a verification of the whole file finds.
    """

    # The lowest bit changes digits, the sixth the case of a letter; the highest breaks UTF-8.
    @pytest.mark.parametrize(
        "bit",
        [
            bit if bit in (0, 5, 7) else pytest.param(bit, marks=pytest.mark.nightly)
            for bit in range(8)
        ],
    )
    def test_every_flipped_bit_is_found(self, bit: int, lines: list[bytes]) -> None:
        flips = partial(flipped_bits, bit=bit)
        all_rejected(f"bits {bit} flipped", rejected_alone(lines, flips))

    def test_every_deleted_byte_is_found(self, lines: list[bytes]) -> None:
        all_rejected("bytes deleted", rejected_alone(lines, deleted_bytes))

    def test_every_truncation_within_a_line_is_found(self, lines: list[bytes]) -> None:
        parts = (line[:end] for line in lines for end in range(1, len(line)))
        all_rejected("truncations", (sound(read_jsonl(BytesIO(part))) for part in parts))

    def test_a_change_that_is_found_alone_is_found_in_the_file(self, lines: list[bytes]) -> None:
        content = b"".join(lines)
        at = range(0, len(content), 101)
        flipped = ([content[:i], bytes([content[i] ^ 1]), content[i + 1 :]] for i in at)
        all_rejected("bits flipped in the whole file", (verified(each).ok for each in flipped))


def swapped(readings: Sequence[ParsedLine], one: int, other: int) -> list[ParsedLine]:
    changed = list(readings)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def flipped_bits(line: bytes, bit: int) -> Iterator[bytes]:
    for at, byte in enumerate(line):
        yield b"%b%b%b" % (line[:at], bytes([byte ^ 1 << bit]), line[at + 1 :])


def deleted_bytes(line: bytes) -> Iterator[bytes]:
    for at in range(len(line)):
        yield line[:at] + line[at + 1 :]


def rejected_alone(
    lines: Sequence[bytes], changes: Callable[[bytes], Iterable[bytes]]
) -> Iterator[bool]:
    """Whether each changed line is sound; one that lost its end together with the next line.

    All are read as one long file, so that the reader knows the form of every line by then.
    """
    changed = [
        part if part.endswith(b"\n") else part + following
        for line, following in zip(lines, [*lines[1:], lines[0]], strict=True)
        for part in changes(line)
    ]
    readings = read_jsonl(BytesIO(b"".join([*lines, *changed])))
    assert sound(islice(readings, len(lines)))
    return (sound(islice(readings, part.count(b"\n"))) for part in changed)


def sound(readings: Iterable[ParsedLine]) -> bool:
    """Whether neither reading nor the signatures find a problem; reads all of them."""
    signatures = SignatureVerifier(AcceptedSignatures((KEY,)))
    found = [
        bool(each.defects) or (each.record_type is not None and signatures.check(each) is not None)
        for each in readings
    ]
    assert found
    return not any(found)
