"""The commands of `landscape`: runs, export, reconcile, verify, doctor."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from elspeth.cli.formats import ExporterName, ExportFormat
from elspeth.cli.runtime import (
    ExitCode,
    OutputConsole,
    UsageError,
    reading_database,
    recording_database,
    run_command,
    stop_on_signals,
)
from elspeth.core.error_text import one_line

# A command imports what it needs when it runs, so that `--help` does not wait for a database.
if TYPE_CHECKING:
    from elspeth.cli.export import ExportResult
    from elspeth.core.landscape.database import LandscapeDB, SchemaMismatchError

app = typer.Typer(
    help="The audit trail of pipeline runs: list, export, verify.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DatabaseUrl = Annotated[
    str, typer.Option("--db", metavar="URL", help="SQLAlchemy URL of the Landscape database.")
]

KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file that holds the signing key."),
]

KeyringFile = Annotated[
    Path | None,
    typer.Option(
        "--keyring", metavar="FILE", help="A file of keys, one per line, of which one must fit."
    ),
]

Attest = Annotated[bool, typer.Option("--attest", help="Write an attestation beside the export.")]

AttestationKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Attest with this Ed25519 private key (PEM)."),
]

_LONGEST_TIMEOUT = 31_536_000.0
"""A year in seconds; the timer of the system refuses some larger numbers, and infinity."""

Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001, max=_LONGEST_TIMEOUT, metavar="SECONDS", help="Stop when it takes longer."
    ),
]

_PIPED_WIDTH = 1000
"""The width of output that a script reads, so that no table wraps."""


@app.command()
def runs(db: DatabaseUrl) -> None:
    """List the runs of a database, newest first, with the number of records of each."""
    from elspeth.cli.runs import lines_of, list_runs, table_of

    with reading_database(db) as landscape:
        listed = list_runs(landscape)
        mismatch = _schema_mismatch(landscape)
    console = _console()
    if not listed:
        console.print("No runs.")
    elif console.is_terminal:
        console.print(table_of(listed))
    else:
        console.out("\n".join(lines_of(listed)), highlight=False)
    if mismatch is not None:
        _warn(str(mismatch))


@app.command()
def export(
    run: Annotated[str, typer.Option(metavar="ID|latest", help="The run to export.")],
    db: Annotated[
        str | None, typer.Option("--db", metavar="URL", help="SQLAlchemy URL of the database.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The file, or CSV directory.")
    ] = None,
    format_: Annotated[ExportFormat | None, typer.Option("--format", show_default="jsonl")] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign with the key of --key-file or ELSPETH_SIGNING_KEY.")
    ] = False,
    exporter: Annotated[ExporterName | None, typer.Option(show_default="batched")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Export as these settings say, and record the status."),
    ] = None,
    key_file: KeyFile = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share a JSON Lines export.")] = 1,
    timeout: Timeout = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out",
            metavar="NAMES",
            help="Tables and table.columns that are unknown here, to leave out; repeatable.",
        ),
    ] = None,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe",
            help="Also write a copy of the CSV files in which no cell is a formula.",
        ),
    ] = False,
    accept_orphans: Annotated[
        bool,
        typer.Option(
            "--accept-orphans",
            help="Export a run whose database holds children without a parent, and print them.",
        ),
    ] = False,
) -> None:
    """Export a run to a JSON Lines file or a directory of CSV files, put in place atomically.

    Either --db and --output name the database and the target, or --settings names the settings of
    a pipeline, which hold both. With --settings the run's export_status is recorded as well.
    """
    from elspeth.cli.export import ConfiguredExport, ExportOptions, PathExport
    from elspeth.cli.signing_keys import chosen_attester
    from elspeth.core.landscape.keys import signing_key
    from elspeth.core.settings import load_settings, split_names

    attester = chosen_attester(attest, attestation_key, key_file, keyring)
    loaded = None if settings is None else load_settings(settings)
    is_signed = sign if loaded is None else loaded.landscape.export.sign
    _refuse_unused_key(key_file, is_used=is_signed or (attest and attestation_key is None))
    # Refused even where it agrees with the file: with two sources for one value a user would have
    # to know which of them counts.
    chosen: PathExport | ConfiguredExport
    if loaded is not None:
        given = {"--db": db, "--output": output, "--format": format_, "--exporter": exporter}
        clashing = [option for option, value in given.items() if value is not None]
        if clashing or sign:
            option = clashing[0] if clashing else "--sign"
            raise UsageError(f"{option} cannot be combined with --settings; leave one of them out")
        if leave_out is not None:
            raise UsageError(
                "--leave-out cannot be combined with --settings; write landscape.export.leave_out"
            )
        chosen = ConfiguredExport(loaded, key_file, attester)
    elif db is None or output is None:
        raise UsageError("Missing --db and --output, or --settings")
    else:
        chosen = PathExport(
            db,
            output,
            format_ or ExportFormat.JSONL,
            exporter or ExporterName.BATCHED,
            signing_key(os.environ, key_file) if sign else None,
            attester,
            [name for names in leave_out or () for name in split_names(names)],
        )
    options = ExportOptions(jobs, timeout, quiet, spreadsheet_safe, accept_orphans)
    _print_result(chosen.export(run, options))


@app.command()
def reconcile(
    settings: Annotated[Path, typer.Option(metavar="FILE", help="The pipeline's settings.")],
    key_file: KeyFile = None,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
) -> int:
    """Settle exports that were cut off: verify the target, record the status; exit 1 if any failed.

    A pending export becomes completed when it is in place and verifies, otherwise failed. One that
    no key fits stays pending.
    """
    from elspeth.cli.signing_keys import chosen_attester, reconciling_keys
    from elspeth.contracts.enums import ExportStatus
    from elspeth.core.landscape.counts import has_runs
    from elspeth.core.landscape.pipeline.export_status import (
        reconcile_pending,
        refuse_unknown_status,
    )
    from elspeth.core.settings import load_settings

    chosen = load_settings(settings)
    export = chosen.landscape.export
    is_attested = attest or attestation_key is not None
    if keyring is not None and not (export.sign or is_attested):
        raise UsageError("--keyring names keys, and these exports are not signed; leave it out")
    attester = chosen_attester(attest, attestation_key, key_file, keyring if is_attested else None)
    keys = None if keyring is None else reconciling_keys(keyring, key_file)
    _refuse_unused_key(key_file, is_used=export.sign or (attest and attestation_key is None))
    # Exports are found by the names of sinks, so other settings would find nothing pending.
    if not chosen.sinks:
        raise UsageError(f"{settings} names no sinks, so no export can be found by it")
    url = chosen.landscape.url
    with (
        stop_on_signals() as opened,
        recording_database(url, opened, leave_out=export.leave_out) as landscape,
    ):
        if not has_runs(landscape):
            raise UsageError(f"{landscape.masked_url} holds no runs: there is nothing to reconcile")
        refuse_unknown_status(landscape)
        reconciled = reconcile_pending(
            landscape, chosen, os.environ, key_file=key_file, keyring=keys, attest=attester
        )
    console = _console()
    for settled in reconciled:
        line = f"{settled.run_id}: {settled.status.value}: {settled.reason}"
        console.print(Text(one_line(line)))
    if not reconciled:
        console.print("Nothing is pending.")
    has_passed = all(settled.status is ExportStatus.COMPLETED for settled in reconciled)
    return ExitCode.PASSED if has_passed else ExitCode.FAILED


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A JSON Lines file, or a directory of CSV files.")],
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="The run that the export must be of.")
    ] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Look for repeated keys across the whole export.")
    ] = False,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Accept an export without signatures.")
    ] = False,
    key_file: KeyFile = None,
    keyring: KeyringFile = None,
    allow_short_key: Annotated[
        bool,
        typer.Option(
            "--allow-short-key", help="Accept a key of fewer than 32 bytes, as the original did."
        ),
    ] = False,
    attestation: Annotated[
        bool, typer.Option("--attestation", help="Check the attestation beside it too.")
    ] = False,
    attestation_public_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The Ed25519 public key (PEM) of the attestation."),
    ] = None,
    at_least: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The smallest number that the attestation may have."),
    ] = None,
    follows: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An attestation that was kept elsewhere; repeatable."),
    ] = None,
    max_line_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**31,
            show_default="64 MiB",
            help="The length of the longest line that is read.",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Processes that share a JSON Lines file; other forms and --unique take one.",
        ),
    ] = 1,
    timeout: Timeout = None,
) -> int:
    """Check an export: its form, every signature, its order and its manifest; exit 1 if invalid."""
    from elspeth.cli.signing_keys import attestation_keys, chosen_verification_key
    from elspeth.cli.verify import AttestationOptions, VerifyRequest

    has_public_key = attestation_public_key is not None
    key = chosen_verification_key(
        key_file,
        keyring,
        is_optional=allow_unsigned or has_public_key,
        allow_short_key=allow_short_key,
    )
    # Each of these options asks about the attestation, so each of them implies --attestation.
    options = None
    if attestation or has_public_key or at_least is not None or follows:
        options = AttestationOptions(
            attestation_keys(key, attestation_public_key),
            at_least,
            follows or (),
            can_replace_signing_key=has_public_key,
        )
    request = VerifyRequest(path, key, run, unique, allow_unsigned, options, max_line_bytes, jobs)
    # A pipe may have no writer.
    with stop_on_signals(timeout_seconds=timeout):
        result = request.run()
    console = _console()
    for line in result.lines():
        console.print(Text(one_line(line)))
    return ExitCode.PASSED if result.ok else ExitCode.FAILED


@app.command()
def doctor(db: DatabaseUrl) -> int:
    """Find missing indexes, slow query plans and children without a parent; exit 1 if any."""
    from elspeth.core.landscape.doctor import examine, orphans

    console = _console()
    has_orphans = False
    with reading_database(db) as landscape:
        advice = examine(landscape)
        is_postgresql = landscape.engine.dialect.name == "postgresql"
        for orphan in orphans(landscape):
            has_orphans = True
            console.print(Text(one_line(f"{orphan}")))
    # A command that looked at half of it must not say that all is well.
    if is_postgresql:
        _warn("only indexes were checked: query plans are checked on SQLite")
    for item in advice:
        console.print(Text(one_line(f"{item.problem}: {item.why}")))
        console.print(Text(f"    {item.statement};"))
    has_passed = not advice and not has_orphans
    console.print("Nothing to improve." if has_passed else "Nothing was changed.")
    return ExitCode.PASSED if has_passed else ExitCode.FAILED


def main() -> NoReturn:
    """Run the `landscape` command."""
    # An export makes no reference cycles, and the search for them took a tenth of its time
    # (docs/performance.md). A library must not switch it off for its caller, a command may.
    gc.disable()
    run_command(app, "landscape", usage_errors=_usage_errors)


def _usage_errors() -> tuple[type[Exception], ...]:
    from elspeth.core.landscape.exporter import ParallelExportError

    return (ParallelExportError,)


def _schema_mismatch(landscape: "LandscapeDB") -> "SchemaMismatchError | None":
    """Return why an export that leaves out nothing would be refused; None if it would not."""
    from elspeth.core.landscape.database import SchemaMismatchError

    try:
        landscape.check_schema()
    except SchemaMismatchError as error:
        return error
    return None


def _refuse_unused_key(key_file: Path | None, *, is_used: bool) -> None:
    """Refuse a key that would sign nothing: its user would take the export for a signed one."""
    if key_file is not None and not is_used:
        raise UsageError(
            "--key-file names a key that nothing would be signed with; add --sign "
            "(landscape.export.sign in settings), or leave it out"
        )


def _warn(message: str) -> None:
    """Print a warning to standard error."""
    warnings = Console(stderr=True, highlight=False, soft_wrap=True)
    warnings.print(Text(one_line(f"warning: {message}")))


def _print_result(result: "ExportResult") -> None:
    console = _console()
    for line in result.lines():
        console.print(Text(one_line(line)))
    if result.warning is not None:
        _warn(result.warning)


def _console() -> Console:
    """Return a console that never wraps or shortens output that a script may read."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, soft_wrap=True, width=_PIPED_WIDTH)
