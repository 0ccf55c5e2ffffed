"""`landscape reconcile`: settles exports that were cut off."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.databases import reading_database, recording_database
from elspeth.cli.options import (
    Attest,
    AttestationKey,
    Json,
    KeyFile,
    KeyringFile,
    refuse_unused_key,
)
from elspeth.cli.runtime import ExitCode, UsageError, stop_on_signals

EXAMPLES = ("landscape reconcile --settings settings.yaml",)


def reconcile(
    settings: Annotated[Path, typer.Option(metavar="FILE", help="The pipeline's settings.")],
    key_file: KeyFile = None,
    attest: Attest = False,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
    json: Json = False,
) -> int:
    """Settle exports by settings that were cut off.

    Verifies the target and records the status. Exit 1 if any failed.

    A pending export becomes completed when it is in place and verifies, otherwise failed. One that
    no key fits stays pending.
    """
    from elspeth.cli.console import print_json, print_lines
    from elspeth.cli.signing_keys import chosen_attester, reconciling_keys
    from elspeth.contracts.enums import ExportStatus
    from elspeth.core.landscape.counts import has_runs
    from elspeth.core.landscape.pipeline.export_status import (
        ReconciledExport,
        pending_exports,
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
    refuse_unused_key(key_file, is_used=export.sign or (attest and attestation_key is None))
    # Exports are found by the names of sinks, so other settings would find nothing pending.
    if not chosen.sinks:
        raise UsageError(f"{settings} names no sinks, so no export can be found by it")
    url = chosen.landscape.url
    reconciled: Sequence[ReconciledExport] = ()
    with stop_on_signals() as opened:
        with reading_database(url, opened, leave_out=export.leave_out) as landscape:
            if not has_runs(landscape):
                raise UsageError(
                    f"{landscape.masked_url} holds no runs: there is nothing to reconcile"
                )
            refuse_unknown_status(landscape)
            is_pending = bool(pending_exports(landscape))
        # Opened for writing only if there is something to write: a database on read-only media, or
        # a role without the right to update, has nothing pending in the usual case.
        if is_pending:
            with recording_database(url, opened) as landscape:
                reconciled = reconcile_pending(
                    landscape, chosen, os.environ, key_file=key_file, keyring=keys, attest=attester
                )
    has_passed = all(settled.status is ExportStatus.COMPLETED for settled in reconciled)
    code = ExitCode.PASSED if has_passed else ExitCode.FAILED
    if json:
        from elspeth.cli.reports import ReconcileReport

        outcomes = {ExportStatus.COMPLETED: "passed", ExportStatus.FAILED: "failed"}
        entries = [
            {
                "run_id": settled.run_id,
                "outcome": outcomes.get(settled.status, "inconclusive"),
                "export_status": settled.status.value,
                "reason": settled.reason,
            }
            for settled in reconciled
        ]
        has_failed = any(settled.status is ExportStatus.FAILED for settled in reconciled)
        outcome = ("passed" if reconciled else "skipped") if has_passed else "inconclusive"
        report = {
            "outcome": "failed" if has_failed else outcome,
            "exit_code": int(code),
            "exports": entries,
        }
        print_json(ReconcileReport.model_validate(report))
        return code
    for settled in reconciled:
        print_lines((f"{settled.run_id}: {settled.status.value}: {settled.reason}",))
    if not reconciled:
        print_lines(("Nothing is pending.",))
    return code
