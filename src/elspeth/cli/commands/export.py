"""`landscape export`: one run or several, to a path, to standard output, or by settings."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elspeth.cli.formats import ExporterName, ExportFormat
from elspeth.cli.options import (
    DATABASE_VARIABLE,
    Attest,
    AttestationKey,
    DatabaseUrl,
    Json,
    KeyFile,
    KeyringFile,
    LeaveOut,
    Timeout,
    database_url,
    refuse_unused_key,
)
from elspeth.cli.runtime import ExitCode, UsageError, fail, stop_on_signals
from elspeth.contracts.enums import RunStatus
from elspeth.core.compression import Compression

if TYPE_CHECKING:
    from elspeth.cli.export import ExportForm, ExportOptions, ExportResult
    from elspeth.cli.reports import ExportEntry
    from elspeth.cli.run_choice import Selection
    from elspeth.cli.several_runs import RunOutcome
    from elspeth.core.landscape.attestation import Attester
    from elspeth.core.settings import ElspethSettings

EXAMPLES = (
    "landscape export --run latest --db sqlite:///audit.db --output run.jsonl --sign",
    "landscape export --run latest --db sqlite:///audit.db --output - | less",
    "landscape export --all --db sqlite:///audit.db --output exports --compress gzip",
    "landscape export --run latest --settings settings.yaml",
)
STREAM = "-"
"""The name of standard output. A file of this name is `./-`."""


def export(
    run: Annotated[str | None, typer.Option(metavar="ID|latest", help="The run to export.")] = None,
    db: DatabaseUrl = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The file, or CSV directory; - for standard output; for several runs a folder.",
        ),
    ] = None,
    format_: Annotated[ExportFormat | None, typer.Option("--format", show_default="jsonl")] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign with the key of --key-file or ELSPETH_SIGNING_KEY.")
    ] = False,
    exporter: Annotated[ExporterName | None, typer.Option(show_default="batched")] = None,
    compress: Annotated[
        Compression | None, typer.Option("--compress", help="Compress the JSON Lines file.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Export every run that is not there.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Export the runs that started then or later (ISO 8601)."),
    ] = None,
    status: Annotated[
        RunStatus | None, typer.Option("--status", help="Export the runs of this status.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Export as these settings say, and record the status."),
    ] = None,
    key_file: KeyFile = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share an export.")] = 1,
    timeout: Timeout = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Show no progress; with --output - no result either."),
    ] = False,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
    leave_out: LeaveOut = None,
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
    json: Json = False,
) -> int:
    """Export runs to JSON Lines files or directories of CSV files.

    An export is put in place atomically: a path never holds a part of one.

    --run exports one run to --output. --all, --since and --status export several into a folder,
    each to a path of its id: what is there and verifies is not exported again, a failure does not
    stop the rest, and the exit code is the highest one. With --settings in place of --db and
    --output, the settings of a pipeline name both, and the run's export_status is recorded as well.
    """
    from elspeth.cli.export import ExportOptions
    from elspeth.cli.signing_keys import chosen_attester

    selection = _selection(run, since, status, is_all=all_)
    attester = chosen_attester(attest, attestation_key, key_file, keyring)
    loaded = None
    if settings is not None:
        from elspeth.core.settings import load_settings

        # They may come from a pipe, which has to be waited for.
        with stop_on_signals(timeout_seconds=timeout):
            loaded = load_settings(settings)
    is_signed = sign if loaded is None else loaded.landscape.export.sign
    refuse_unused_key(key_file, is_used=is_signed or (attest and attestation_key is None))
    options = ExportOptions(jobs, timeout, quiet, spreadsheet_safe, accept_orphans)
    # Refused even where it agrees with the file: with two sources for one value a user would have
    # to know which of them counts.
    if loaded is not None:
        given = {
            "--db": db,
            "--output": output,
            "--format": format_,
            "--exporter": exporter,
            "--compress": compress,
        }
        clashing = [option for option, value in given.items() if value is not None]
        if clashing == ["--compress"]:
            raise UsageError(
                "--compress cannot be combined with --settings; write landscape.export.compress"
            )
        if clashing or sign:
            option = clashing[0] if clashing else "--sign"
            raise UsageError(f"{option} cannot be combined with --settings; leave one of them out")
        if leave_out is not None:
            raise UsageError(
                "--leave-out cannot be combined with --settings; write landscape.export.leave_out"
            )
        if run is None:
            raise UsageError(
                f"{selection} cannot be combined with --settings, whose sink holds one export; "
                "name --db and --output"
            )
        return _export_by_settings(run, loaded, key_file, attester, options, as_json=json)
    if output is None or (db is None and not os.environ.get(DATABASE_VARIABLE)):
        raise UsageError("Missing --db and --output, or --settings")
    url = database_url(db)
    form = _form(format_, exporter, sign, key_file, attester, leave_out, compress)
    form.refuse_impossible(options)
    if output == STREAM:
        if run is None:
            raise UsageError(f"--output {STREAM} is for one run; name a folder for {selection}")
        return _export_to_stream(run, url, form, options, as_json=json)
    if selection is not None:
        return _export_several(selection, url, Path(output), form, options, as_json=json)
    # Path drops what says that a folder is meant.
    if form.format is ExportFormat.JSONL and output.endswith(("/", "/.")):
        raise UsageError(f"--output {output} names a folder; name a file, or take --format csv")
    return _export_one(str(run), url, Path(output), form, options, as_json=json)


def _selection(
    run: str | None, since: str | None, status: RunStatus | None, *, is_all: bool
) -> "Selection | None":
    """Return the choice of several runs; None for --run."""
    several = {"--all": is_all or None, "--since": since, "--status": status}
    given = [option for option, value in several.items() if value is not None]
    if run is not None:
        if given:
            raise UsageError(f"{given[0]} cannot be combined with --run; leave one of them out")
        return None
    if not given:
        raise UsageError("Missing --run: name a run, or several with --all, --since or --status")
    if is_all and len(given) > 1:
        raise UsageError(f"--all names every run; leave it out, or leave out {given[1]}")
    from elspeth.cli.run_choice import Selection, read_moment

    moment = None if since is None else read_moment(since, datetime.now(UTC))
    return Selection(moment, status)


def _form(
    format_: ExportFormat | None,
    exporter: ExporterName | None,
    sign: bool,
    key_file: Path | None,
    attester: "Attester | None",
    leave_out: Sequence[str] | None,
    compression: Compression | None,
) -> "ExportForm":
    from elspeth.cli.export import ExportForm
    from elspeth.core.landscape.keys import signing_key

    left_out: list[str] = []
    if leave_out:
        from elspeth.core.settings import split_names

        left_out = [name for names in leave_out for name in split_names(names)]
    return ExportForm(
        format_ or ExportFormat.JSONL,
        exporter or ExporterName.BATCHED,
        signing_key(os.environ, key_file) if sign else None,
        attester,
        left_out,
        compression,
    )


def _export_one(
    run: str, url: str, path: Path, form: "ExportForm", options: "ExportOptions", *, as_json: bool
) -> int:
    from elspeth.cli.export import PathExport

    return _print_result(PathExport(url, path, form).export(run, options), as_json=as_json)


def _export_by_settings(
    run: str,
    settings: "ElspethSettings",
    key_file: Path | None,
    attester: "Attester | None",
    options: "ExportOptions",
    *,
    as_json: bool,
) -> int:
    from elspeth.cli.export import ConfiguredExport

    exported = ConfiguredExport(settings, key_file, attester).export(run, options)
    return _print_result(exported, as_json=as_json)


def _export_to_stream(
    run: str, url: str, form: "ExportForm", options: "ExportOptions", *, as_json: bool
) -> int:
    from elspeth.cli.console import print_notes
    from elspeth.cli.export import StreamExport

    refusals = {
        "--format csv": form.format is ExportFormat.CSV,
        "--attest": form.attester is not None,
        "--json": as_json,
    }
    for option, is_given in refusals.items():
        if is_given:
            raise UsageError(f"{option} cannot be combined with --output {STREAM}; name a path")
    exported = StreamExport(url, form).export(run, options)
    # Standard output holds the export.
    if not options.quiet:
        print_notes(exported.lines())
    return ExitCode.PASSED


def _print_result(result: "ExportResult", *, as_json: bool) -> int:
    from elspeth.cli.console import print_json, print_lines, warn

    if as_json:
        from elspeth.cli.reports import ExportReport

        exports = (_entry(result.run_id, result.published.path, result),)
        print_json(ExportReport(outcome="passed", exit_code=0, exports=exports))
    else:
        print_lines(result.lines())
    if result.warning is not None:
        warn(result.warning)
    return ExitCode.PASSED


def _export_several(
    selection: "Selection",
    url: str,
    folder: Path,
    form: "ExportForm",
    options: "ExportOptions",
    *,
    as_json: bool,
) -> int:
    from elspeth.cli.console import print_json, print_lines, warn
    from elspeth.cli.several_runs import SeveralExports

    def report(done: "RunOutcome") -> None:
        if done.result is not None and done.result.warning is not None:
            warn(done.result.warning)
        if as_json:
            return
        if done.result is not None:
            print_lines(done.result.lines())
        else:
            print_lines((f"{done.run_id}: {done.outcome}: {done.reason}",))

    outcomes = SeveralExports(url, folder, form, selection).export(options, report)
    code = max((done.code for done in outcomes), default=ExitCode.PASSED)
    counts = {
        name: sum(done.outcome == name for done in outcomes)
        for name in ("passed", "skipped", "inconclusive", "failed")
    }
    summary = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if as_json:
        from elspeth.cli.reports import ExportReport

        worst_first = ("failed", "inconclusive", "passed", "skipped")
        outcome = next((name for name in worst_first if counts[name]), "skipped")
        entries = [_entry(done.run_id, done.path, done.result, done) for done in outcomes]
        report_of_all = {"outcome": outcome, "exit_code": int(code), "exports": entries}
        print_json(ExportReport.model_validate(report_of_all))
    elif outcomes:
        print_lines((f"{len(outcomes):,} run{'s' * (len(outcomes) > 1)}: {summary}",))
    else:
        print_lines((f"No run matches {selection}; `landscape runs` lists what there is.",))
    if code is not ExitCode.PASSED:
        missing = counts["failed"] + counts["inconclusive"]
        fail(f"{missing:,} of {len(outcomes):,} runs: not exported, or not confirmed", code)
    return code


def _entry(
    run_id: str, path: Path, result: "ExportResult | None", done: "RunOutcome | None" = None
) -> "ExportEntry":
    from elspeth.cli.reports import AttestationEntry, ExportEntry

    entry = {
        "run_id": run_id,
        "outcome": "passed" if done is None else done.outcome,
        "exit_code": 0 if done is None else int(done.code),
        "path": str(path),
        "reason": None if done is None else done.reason,
    }
    if result is None:
        return ExportEntry.model_validate(entry)
    published = result.published
    return ExportEntry.model_validate(
        {
            **entry,
            "record_count": published.record_count,
            "size_bytes": published.size_bytes,
            "sha256": published.sha256,
            "compression": published.compression and published.compression.value,
            "left_out": tuple(result.left_out),
            "orphans": result.orphans.count,
            "attestation": result.attestation and AttestationEntry.of(result.attestation),
            "spreadsheet_copy": result.spreadsheet_copy and str(result.spreadsheet_copy),
            "formula_cells": dict(result.formula_cells),
        }
    )
