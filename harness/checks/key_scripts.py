"""Call scripts with unusual signing keys, and with unusual times of the clock."""

from harness.checks.script_runs import OTHER_RUN, build, clock, export
from harness.compare.call_outcomes import CallScript

# An HMAC of SHA-256 hashes a key that is longer than its block of 64 bytes, and fills up a shorter
# one with NULs. A NUL at the end of a short key therefore changes nothing, one at the end of a long
# key does.
_KEYS = (
    ("with blanks at its ends", b" \t a key between blanks, as a file with a line end has \r\n"),
    ("of 63 bytes", bytes(range(65, 128))),
    ("of 64 bytes", bytes(range(64, 128))),
    ("of 65 bytes", bytes(range(63, 128))),
    ("of 4,080 bytes", bytes(range(1, 256)) * 16),
    ("with a NUL at its start and inside", b"\0a key\0around a NUL, and more of it"),
    ("longer than a block, with a NUL at its end", b"k" * 70 + b"\0"),
    ("that is not UTF-8", b"\xff\xfe\x80 no text in any sense \xc3\x28"),
    (
        "in UTF-8, not normalised",
        "Schlu\u0308ssel, cl\u00e9, \u212b, \U0001f511, 32 bytes".encode(),
    ),
    ("with capital letters", b"A Key With Capitals, Which Somebody Lowers"),
    ("of hexadecimal digits", b"00ff" * 16),
    ("of base64", b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    ("with escapes that nobody reads", rb"\n and \x41 and \u00e9 and \\, twenty and more"),
    ("of one byte", b"k"),
    # The reference: only None counts as missing.
    ("of no byte", b""),
)
_TIMES = (
    ("on a whole second", "2026-03-04T05:06:07+00:00"),
    ("at midnight", "2026-03-04T00:00:00+00:00"),
    ("one microsecond past a second", "2026-03-04T05:06:07.000001+00:00"),
    ("on a tenth of a second", "2026-03-04T05:06:07.100000+00:00"),
    ("at the last microsecond of a year", "2026-12-31T23:59:59.999999+00:00"),
    ("at the first second of a year", "2027-01-01T00:00:00+00:00"),
    ("on a leap day", "2028-02-29T12:00:00.000010+00:00"),
    ("in the year 9999", "9999-12-31T23:59:59+00:00"),
    ("with the offset of India", "2026-03-04T05:06:07.000008+05:30"),
    ("with an offset to the west", "2026-03-04T23:06:07-09:00"),
)
KEY_SCRIPTS = tuple(
    CallScript(
        f"a key {name}",
        (build(key=key.hex()), export(OTHER_RUN, sign=True)),
        "the key goes to the HMAC as it is",
    )
    for name, key in _KEYS
)
"""Keys that any bytes may make."""
_CLOCK = "exported_at is isoformat() of the clock's time, asked once more for every export"
CLOCK_SCRIPTS = (
    *(
        CallScript(f"a clock {name}", (build(), clock(time), export(OTHER_RUN, sign=True)), _CLOCK)
        for name, time in _TIMES
    ),
    CallScript(
        "a clock that moves on with every reading",
        (
            *(build(), clock("2026-03-04T05:06:07+00:00", tick=1.0)),
            *(export(OTHER_RUN), export(OTHER_RUN, sign=True), export(sign=True)),
        ),
        _CLOCK,
    ),
)
"""Times of the manifest."""
