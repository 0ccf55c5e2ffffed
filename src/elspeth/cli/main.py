"""The `landscape` command: list the runs of an audit trail, export one, verify an export."""

import gc
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from elspeth.cli.export import (
    ConfiguredTarget,
    Exported,
    ExporterName,
    ExportFormat,
    Manner,
    NamedTarget,
)
from elspeth.cli.runtime import (
    ExitCode,
    OutputConsole,
    UsageError,
    one_line,
    reading_database,
    recording_database,
    run_command,
    stoppable,
)
from elspeth.cli.verify import ByAttestation, Request
from elspeth.contracts.enums import ExportStatus
from elspeth.core.landscape import LandscapeRecorder
from elspeth.core.landscape.attestation import Attester, HmacSeal, Opener
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.doctor import examine
from elspeth.core.landscape.export.parallel import ParallelExportError
from elspeth.core.landscape.keys import KEY_VARIABLE, Keyring, read_keyring, signing_key
from elspeth.core.landscape.pipeline.reconcile import settle_pending
from elspeth.core.settings import load_settings

# What the options about attestations ask for: who attests an export, and who can read that.
#
# Only here is it known that Ed25519 needs an extra.


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
    typer.Option("--keyring", metavar="FILE", help="Keys, one a line, of which one has to fit."),
]

Attest = Annotated[bool, typer.Option("--attest", help="Write an attestation beside the export.")]

AttestationKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Attest with this Ed25519 private key (PEM)."),
]

_PIPED_WIDTH = 1000


@app.command()
def runs(db: DatabaseUrl) -> None:
    """List the runs of a database, newest first, with the number of records of each."""
    with reading_database(db) as landscape, landscape.connection() as connection:
        found = LandscapeRecorder(landscape).list_runs()
        counts = {run.run_id: count_records(connection, run.run_id) for run in found}
    table = Table(Column("run", overflow="fold"), "started", "status", box=None)
    for heading in ("rows", "tokens", "node states", "records"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in found:
        count = counts[run.run_id]
        table.add_row(
            Text(one_line(run.run_id)),
            f"{_in_utc(run.started_at):%Y-%m-%d %H:%M:%S}",
            run.status.value,
            *(f"{count[name]:,}" for name in ("row", "token", "node_state")),
            f"{sum(count.values()):,}",
        )
    _console().print(table if found else "No runs.")


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
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up when it takes longer."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
    spreadsheet_safe: Annotated[
        bool, typer.Option("--spreadsheet-safe", help="Copy CSV files so that none runs a formula.")
    ] = False,
) -> None:
    """Export a run to a JSON Lines file or a directory of CSV files, put in place atomically.

    Either --db and --output name database and place, or --settings names a pipeline's settings,
    which do: then the run's export_status is recorded as well.
    """
    attesting = _attester(attest, attestation_key, key_file, keyring)
    target: NamedTarget | ConfiguredTarget
    if settings is not None:
        given = {"--db": db, "--output": output, "--format": format_, "--exporter": exporter}
        clashing = [option for option, value in given.items() if value is not None]
        if clashing or sign:
            option = clashing[0] if clashing else "--sign"
            raise UsageError(f"{option} is for --settings to say; leave one of them out")
        target = ConfiguredTarget(load_settings(settings), key_file, attesting)
    elif db is None or output is None:
        raise UsageError("Missing --db and --output, or --settings")
    else:
        target = NamedTarget(
            db,
            output,
            format_ or ExportFormat.JSONL,
            exporter or ExporterName.BATCHED,
            signing_key(os.environ, key_file) if sign else None,
            attesting,
        )
    _report(target.export(run, Manner(jobs, timeout, quiet, spreadsheet_safe)))


@app.command()
def reconcile(
    settings: Annotated[Path, typer.Option(metavar="FILE", help="The pipeline's settings.")],
    key_file: KeyFile = None,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
) -> int:
    """Settle exports that were cut off: look at what is there, and record it; exit 1 if any failed.

    A run whose export_status was left pending becomes completed when its export is in place and
    verifies, and failed when not.
    """
    chosen = load_settings(settings)
    attesting = _attester(attest, attestation_key, key_file, keyring)
    with stoppable() as opened, recording_database(chosen.landscape.url, opened) as landscape:
        settled = settle_pending(landscape, chosen, os.environ, key_file=key_file, attest=attesting)
    console = _console()
    for each in settled:
        console.print(Text(one_line(f"{each.run_id}: {each.status.value}: {each.reason}")))
    if not settled:
        console.print("Nothing is pending.")
    is_settled = all(each.status is ExportStatus.COMPLETED for each in settled)
    return ExitCode.FINE if is_settled else ExitCode.NOT_FINE


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A JSON Lines file, or a directory of CSV files.")],
    run: Annotated[str | None, typer.Option(metavar="ID", help="The run it has to be of.")] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Look for repeated keys across the whole export.")
    ] = False,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Accept an export without signatures.")
    ] = False,
    key_file: KeyFile = None,
    keyring: KeyringFile = None,
    attestation: Annotated[
        bool, typer.Option("--attestation", help="Check the attestation beside it too.")
    ] = False,
    attestation_public_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The Ed25519 public key (PEM) it was attested with."),
    ] = None,
    at_least: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The least number it may have.")
    ] = None,
    follows: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An attestation kept elsewhere; may be given again."),
    ] = None,
) -> int:
    """Check an export: its form, every signature, its order and its manifest; exit 1 if invalid."""
    asks = (attestation, attestation_public_key, at_least, follows)
    by_attestation = None
    key = _verifying_key(
        key_file, keyring, may_do_without=allow_unsigned or attestation_public_key is not None
    )
    if any(each not in (None, False) for each in asks):
        by_attestation = ByAttestation(
            openers(key, attestation_public_key),
            at_least,
            follows or (),
            can_stand_for_signatures=attestation_public_key is not None,
        )
    answer = Request(path, key, run, unique, allow_unsigned, by_attestation).answer()
    console = _console()
    for line in answer.lines():
        console.print(Text(one_line(line)))
    return ExitCode.FINE if answer.ok else ExitCode.NOT_FINE


def main() -> NoReturn:
    """Run the `landscape` command."""
    # Rows become lines without any reference cycle: to look for some takes a tenth of the time.
    gc.disable()
    run_command(app, "landscape", usage_errors=(ParallelExportError,))


@app.command()
def doctor(db: DatabaseUrl) -> int:
    """Say what would make exports of a database cheaper, and why; exit 1 if anything would."""
    with reading_database(db) as landscape:
        advice = examine(landscape)
    console = _console()
    for each in advice:
        console.print(Text(f"{each.problem}: {each.why}"))
        console.print(Text(f"    {each.statement};"))
    console.print("Nothing was changed." if advice else "Nothing to improve.")
    return ExitCode.NOT_FINE if advice else ExitCode.FINE


def _attester(
    attest: bool, private_key: Path | None, key_file: Path | None, keyring: Path | None
) -> Attester | None:
    if not attest and private_key is None:
        if keyring is not None:
            raise UsageError("--keyring is for --attest here; leave it out")
        return None
    key = signing_key(os.environ, key_file) if private_key is None else None
    return attester(key, private_key, None if keyring is None else read_keyring(keyring))


def _verifying_key(
    key_file: Path | None, keyring: Path | None, *, may_do_without: bool
) -> bytes | Keyring | None:
    if keyring is not None:
        if key_file is not None:
            raise UsageError("--key-file is one key, --keyring several; leave one of them out")
        return read_keyring(keyring)
    has_key = key_file is not None or KEY_VARIABLE in os.environ
    return signing_key(os.environ, key_file) if has_key or not may_do_without else None


def _in_utc(moment: datetime) -> datetime:
    # SQLite keeps UTC without saying so; PostgreSQL answers in the session's time zone.
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def _report(exported: Exported) -> None:
    for line in exported.lines():
        _console().print(Text(one_line(line)))
    if exported.warning is not None:
        warnings = Console(stderr=True, highlight=False, soft_wrap=True)
        warnings.print(Text(one_line(f"warning: {exported.warning}")))


def _console() -> Console:
    """A console that never wraps or shortens what a script may read."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, soft_wrap=True, width=_PIPED_WIDTH)
