"""`landscape attest`: attests an export that is there already."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elspeth.cli.databases import reading_database
from elspeth.cli.options import (
    AttestationKey,
    DatabaseUrl,
    Json,
    KeyFile,
    KeyringFile,
    LeaveOut,
    Timeout,
    database_url,
)
from elspeth.cli.runtime import ExitCode, UsageError, stop_on_signals

if TYPE_CHECKING:
    from elspeth.core.landscape.attestation import Attestation
    from elspeth.core.landscape.verification.defects import Verification

EXAMPLES = (
    "landscape attest run.jsonl --db sqlite:///audit.db",
    "landscape attest run.jsonl --db sqlite:///audit.db --attestation-key private.pem",
)


def attest(
    path: Annotated[Path, typer.Argument(help="The export: a file, or a directory of CSV files.")],
    db: DatabaseUrl = None,
    key_file: KeyFile = None,
    attestation_key: AttestationKey = None,
    keyring: KeyringFile = None,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Attest an export without signatures.")
    ] = False,
    leave_out: LeaveOut = None,
    timeout: Timeout = None,
    json: Json = False,
) -> int:
    """Attest an export that was made without --attest.

    Exit 1 if it does not verify.

    The database it was made from has to hold as many records as the export. An export that is
    attested already is left as it is. One that is older than the export attested last is refused.
    """
    from elspeth.cli.run_choice import has_run
    from elspeth.cli.signing_keys import chosen_attester
    from elspeth.core.landscape.counts import count_orphans_of_run, count_tables_in_snapshot
    from elspeth.core.landscape.keys import KEY_VARIABLE, Keyring, read_keyring, signing_key
    from elspeth.core.landscape.verification.verify import verify
    from elspeth.core.settings import split_names

    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is neither a file nor a directory, and only those are attested")
    url = database_url(db)
    attester = chosen_attester(True, attestation_key, key_file, keyring)
    if attester is None:
        raise AssertionError("an attester was asked for")
    has_key = key_file is not None or KEY_VARIABLE in os.environ
    key = signing_key(os.environ, key_file) if has_key or not allow_unsigned else None
    keys = key if keyring is None or key is None else Keyring((key, *read_keyring(keyring).keys))
    names = [name for each in leave_out or () for name in split_names(each)]
    with (
        stop_on_signals(timeout_seconds=timeout) as opened,
        reading_database(url, opened, leave_out=names) as landscape,
    ):
        pending = attester.begin(path, names)
        found = verify(path, keys, allow_unsigned=allow_unsigned)
        if not found.ok or found.run_id is None:
            return _print_result(path, found, None, as_json=json)
        if not has_run(found.run_id, landscape):
            raise UsageError(f"{landscape.masked_url} has no run {found.run_id!r} to attest")
        # An unsigned export is attested as one: a key that signs nothing would refuse it.
        attestation = pending.attest_existing(
            found.run_id,
            keys if found.is_signed else None,
            partial(count_tables_in_snapshot, landscape, found.run_id),
            orphans=count_orphans_of_run(landscape, found.run_id, names),
        )
    is_new = pending.previous is None or pending.previous.digest != attestation.digest
    return _print_result(path, found, attestation, is_new=is_new, as_json=json)


def _print_result(
    path: Path,
    found: "Verification",
    attestation: "Attestation | None",
    *,
    is_new: bool = False,
    as_json: bool,
) -> ExitCode:
    from elspeth.cli.console import print_json, print_lines
    from elspeth.cli.reports import AttestationEntry, AttestReport, DefectEntry

    code = ExitCode.FAILED if attestation is None else ExitCode.PASSED
    if as_json:
        print_json(
            AttestReport(
                outcome="failed" if attestation is None else "passed" if is_new else "skipped",
                exit_code=code,
                path=str(path),
                run_id=found.run_id,
                attestation=None if attestation is None else AttestationEntry.of(attestation),
                is_new=is_new,
                defects=tuple(
                    DefectEntry(
                        reason=defect.reason.value,
                        message=defect.message,
                        file=defect.file,
                        line=defect.line,
                    )
                    for defect in found.defects
                ),
            )
        )
    elif attestation is None:
        print_lines((*(f"{path}: {defect}" for defect in found.defects), "not attested"))
    else:
        number = f"number {attestation.predicate.sequence} in {attestation.path}"
        said = f"attested as {number}" if is_new else f"is attested already, as {number}"
        print_lines((f"{path}: {said}",))
    return code
