"""`landscape doctor`: finds missing indexes, slow plans, damage and orphans of a database."""

from typing import TYPE_CHECKING

from elspeth.cli.databases import reading_database
from elspeth.cli.options import DatabaseUrl, Json, database_url
from elspeth.cli.runtime import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elspeth.core.landscape.exporter import Orphan

EXAMPLES = ("landscape doctor --db sqlite:///audit.db",)


def doctor(db: DatabaseUrl = None, json: Json = False) -> int:
    """Find missing indexes, slow query plans, damage and orphans.

    An orphan is a child without a parent. Exit 1 if there is any of these.
    """
    from elspeth.cli.console import output_console, print_json, print_lines, warn
    from elspeth.core.landscape.doctor import examine, orphans

    found: list[str] = []
    has_orphans = False

    def shown(orphans: "Iterator[Orphan]") -> "Iterator[str]":
        nonlocal has_orphans
        for orphan in orphans:
            has_orphans = True
            yield str(orphan)

    with reading_database(database_url(db)) as landscape:
        advice = examine(landscape)
        is_postgresql = landscape.engine.dialect.name == "postgresql"
        # Printed as they are found: there may be millions.
        lines = shown(orphans(landscape))
        if json:
            found += lines
        else:
            print_lines(lines)
    has_passed = not advice and not has_orphans
    code = ExitCode.PASSED if has_passed else ExitCode.FAILED
    # A command that looked at half of it must not say that all is well.
    warning = (
        "only indexes were checked: query plans are checked on SQLite" if is_postgresql else None
    )
    if warning is not None:
        warn(warning)
    if json:
        from elspeth.cli.reports import AdviceEntry, DoctorReport

        entries = tuple(
            AdviceEntry(problem=item.problem, why=item.why, statement=item.statement)
            for item in advice
        )
        print_json(
            DoctorReport(
                outcome="passed" if has_passed else "failed",
                exit_code=code,
                advice=entries,
                orphans=tuple(found),
                warning=warning,
            )
        )
        return code
    for item in advice:
        print_lines((f"{item.problem}: {item.why}", f"    {item.statement};"))
    output_console().print("Nothing to improve." if has_passed else "Nothing was changed.")
    return code
