"""`landscape verify`: verifies exports, their attestations, and that none is missing."""

from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.options import (
    Json,
    KeyFile,
    KeyringFile,
    MaxLineBytes,
    Timeout,
)
from elspeth.cli.runtime import ExitCode, UsageError, fail, stop_on_signals

EXAMPLES = (
    "landscape verify run.jsonl",
    "landscape verify exports --db sqlite:///audit.db",
    "landscape verify run.jsonl --attestation --at-least 3",
    "landscape export --run latest --output - --sign | landscape verify -",
)


def verify(
    path: Annotated[
        list[Path],
        typer.Argument(
            help="A JSON Lines file, a directory of CSV files, or a folder of exports; several; "
            "- for standard input."
        ),
    ],
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
    max_line_bytes: MaxLineBytes = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Processes that share a JSON Lines file; other forms and --unique take one.",
        ),
    ] = 1,
    db: Annotated[
        str | None,
        typer.Option(
            "--db", metavar="URL", help="Also name the completed runs here that have no export."
        ),
    ] = None,
    timeout: Timeout = None,
    json: Json = False,
) -> int:
    """Check exports: form, signatures, order and manifest.

    Exit 1 if one is invalid.

    With several exports, or --db, what is missing fails too: an export beside an attestation, a
    link in a chain of attestations (with --attestation), and the export of a completed run.
    """
    from elspeth.cli.console import print_json, print_lines
    from elspeth.cli.found_exports import find_exports
    from elspeth.cli.signing_keys import attestation_keys, chosen_verification_key
    from elspeth.cli.verify import AttestationOptions, VerifyRequest
    from elspeth.cli.verify_several import VerifiedExport, VerifiedExports, verify_several

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
    # A pipe may have no writer, and a server may not answer.
    with stop_on_signals(timeout_seconds=timeout) as opened:
        found = find_exports(Path("/dev/stdin") if str(each) == "-" else each for each in path)
        is_one = len(found.exports) == 1 and not found.has_folder and db is None
        request = VerifyRequest(
            found.exports[0] if is_one else Path(),
            key,
            run,
            unique,
            allow_unsigned,
            options,
            max_line_bytes,
            jobs,
        )
        if is_one:
            result = request.run()
            code = ExitCode.PASSED if result.ok else ExitCode.FAILED
            verified = VerifiedExports((VerifiedExport(request.path, code, result),))
            if not json:
                print_lines(result.lines())
        else:
            options_of_one = {"--run": run, "--at-least": at_least, "--follows": follows}
            if given := [option for option, value in options_of_one.items() if value]:
                raise UsageError(f"{given[0]} is for one export; verify that one by itself")
            verified = verify_several(found, request, db, opened, _ignore if json else _print)
    if json:
        print_json(verified.report())
    if verified.code in (ExitCode.PASSED, ExitCode.FAILED):
        return verified.code
    count = f"{verified.unread_count:,} of {len(verified.exports):,} exports"
    return fail(f"{count}: not verified", verified.code)


def _ignore(_: str) -> None: ...


def _print(line: str) -> None:
    from elspeth.cli.console import print_lines

    print_lines((line,))
