"""The progress lines of an export without a terminal."""

from elspeth.cli.progress import write_progress_lines


def test_a_line_comes_every_ten_seconds_with_rate_and_time_left() -> None:
    moments = iter([0.0, 4.0, 10.0, 12.0, 21.0])
    written: list[str] = []
    report = write_progress_lines(4000, written.append, lambda: next(moments))
    for done in (400, 1000, 1200, 4001):
        report(done)
    assert written == [
        "1,000 of 4,000 records, 100 a second, 30 s left",
        "4,001 of 4,000 records, 191 a second, 0 s left",
    ]


def test_a_short_export_writes_no_line() -> None:
    moments = iter([0.0, 9.9])
    written: list[str] = []
    write_progress_lines(10, written.append, lambda: next(moments))(10)
    assert written == []
