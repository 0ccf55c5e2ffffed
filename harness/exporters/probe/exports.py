"""Export a run: build the exporter, and write its records and files with the errors they end in."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .process_state import end_if_forked

RECORDS, JSONL, CSV = "records", "export.jsonl", "csv"
"""The names of the written files, in the directory of an export."""

MESSAGE_LENGTH = 500
"""The longest message of an error, in characters."""

ANOTHER_FACTORY = "name a function or class with --candidate module:attribute"

Build = Callable[[], Any]
"""Makes a new exporter."""


class NotAnExporterError(ValueError):
    """The named object cannot be loaded, or cannot be called as an exporter."""


class BrokenImportError(NotAnExporterError):
    """The module of the exporter is there, and its import raises, exits or does not end."""


class RecordsError(Exception):
    """The records of an export are no records, or do not end."""


def takes_clock(factory: Callable[..., Any]) -> bool:
    """Whether the time in its manifest can be set, so that whole files can be compared."""
    return takes(factory, "clock")


def takes(function: Callable[..., Any], parameter: str) -> bool:
    """Whether a function has a parameter of this name."""
    try:
        return parameter in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False  # Some callables that are written in C have no signature.


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def arguments_of(
    factory: Callable[..., Any], db: Any, key: Any
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments for a database and a key, by place and by name.

    A key is given by its name where it has that name: it may be a keyword only, or follow another
    argument.
    """
    by_place: list[Any] = []
    by_name: dict[str, Any] = {}
    if _kind_of(factory, "db") is inspect.Parameter.KEYWORD_ONLY:
        by_name["db"] = db
    else:
        by_place.append(db)
    if _kind_of(factory, "signing_key") in _BY_NAME:
        by_name["signing_key"] = key
    else:
        by_place.append(key)
    return by_place, by_name


def _kind_of(function: Callable[..., Any], parameter: str) -> Any:
    """Return the kind of a parameter; None if there is none of this name."""
    try:
        found = inspect.signature(function).parameters.get(parameter)
    except (TypeError, ValueError):
        return None
    return None if found is None else found.kind


def definition_of(factory: Callable[..., Any], name: str) -> list[Any] | None:
    """Return file, line and name of a class or function; None if it was built at run time."""
    try:
        return [inspect.getsourcefile(factory), inspect.getsourcelines(factory)[1], name]
    except (OSError, TypeError):
        return None


def build_exporter(name: str, factory: Callable[..., Any], db: Any, key: Any, clock: Any) -> Any:
    """Make an exporter.

    Args:
        name: The exporter's name in messages.
        factory: The class or function.
        db: The database to export from.
        key: The key to sign with; None for unsigned exports.
        clock: The clock of the manifest, given only to an exporter that takes one.

    Raises:
        NotAnExporterError: It cannot be called as an exporter. The message is one line.
    """
    options = {"clock": clock} if takes_clock(factory) else {}
    arguments, named = arguments_of(factory, db, key)
    options |= named
    if inspect.iscoroutinefunction(factory):
        raise NotAnExporterError(
            f"{name} is asynchronous; {ANOTHER_FACTORY} that makes an exporter at once"
        )
    _require_call(name, factory, *arguments, **options)
    exporter = factory(*arguments, **options)
    export_run = getattr(exporter, "export_run", None)
    if not callable(export_run):
        raise NotAnExporterError(
            f"{name} does not make an exporter: no export_run method; {ANOTHER_FACTORY} whose "
            "result has export_run(run_id, sign=False)"
        )
    if inspect.isasyncgenfunction(export_run) or inspect.iscoroutinefunction(export_run):
        raise NotAnExporterError(
            f"{name}.export_run is asynchronous, and the harness iterates over its records; "
            f"{ANOTHER_FACTORY} whose export_run runs it to the end"
        )
    _require_call(f"{name}.export_run", export_run, "run", sign=True)
    return exporter


def write_forms(
    build: Build, run_id: str, directory: Path, *, sign: bool, max_records: int
) -> dict[str, Any]:
    """Export a run as records, and to files by the exporter's own methods where it has them.

    Args:
        build: Makes a new exporter. One is made for every form, because an exporter may keep state
            from one call to the next.
        run_id: The run to export.
        directory: The directory to write into.
        sign: Whether to sign.
        max_records: The records after which the export counts as endless.

    Returns:
        `record_count`, `error`, and for both file forms `writes_*` and `*_error`.
    """
    answer = write_records(build, run_id, directory / RECORDS, sign=sign, max_records=max_records)
    error = answer["error"]
    if error and not error["type_name"]:
        # Its files would hold no records either, or would not end.
        stopped = {"writes_jsonl": True, "writes_csv": True}
        return {**answer, **stopped, "jsonl_error": error, "csv_error": error}
    for form, name in (("jsonl", JSONL), ("csv", CSV)):
        writes = False

        def write(form: str = form, name: str = name) -> None:
            nonlocal writes
            method = getattr(build(), f"write_{form}", None)
            writes = method is not None
            if method is not None:
                method(run_id, directory / name, sign=sign)

        error = error_of(write)
        answer.update({f"writes_{form}": writes, f"{form}_error": error})
    return answer


def write_records(
    build: Build,
    run_id: str,
    path: Path,
    *,
    sign: bool,
    max_records: int,
    on_record: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Write the records of an export to a file, up to the error that they end in.

    Args:
        build: Makes the exporter.
        run_id: The run to export.
        path: The file to write. An exporter that fails before its first record leaves it empty.
        sign: Whether to sign.
        max_records: The records after which the export counts as endless.
        on_record: Called with the number of records so far, before each further record is written.

    Returns:
        `record_count` and `error`.
    """
    count = 0
    pid = os.getpid()

    def write() -> None:
        nonlocal count
        with path.open("w", encoding="ascii") as file:
            records = build().export_run(run_id, sign=sign)
            if not (hasattr(records, "__iter__") or hasattr(records, "__getitem__")):
                raise RecordsError(
                    f"export_run returned a {type(records).__qualname__} instead of records"
                )
            for record in records:
                end_if_forked(pid)
                require_record(record, count + 1)
                if count == max_records:
                    raise RecordsError(
                        f"more than {max_records:,} records: if the run is that large, "
                        "raise the limit of harness check --max-records"
                    )
                if on_record is not None:
                    on_record(count)
                file.write(encoded(record))
                count += 1

    error = error_of(write)
    return {"record_count": count, "error": error}


def require_record(record: object, number: int) -> None:
    """Raise RecordsError for an object that is no record."""
    if not isinstance(record, Mapping) or not all(type(key) is str for key in record):
        text = repr(record)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise RecordsError(f"record {number} is not a dict with text keys, but {shown}")


def write_lines(records: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write records to a file as JSON, one a line, and return their number."""
    count = 0
    with path.open("w", encoding="ascii") as file:
        for record in records:
            file.write(encoded(record))
            count += 1
    return count


def count_records(records: Iterable[Mapping[str, Any]]) -> int:
    """Read records and return their number."""
    count = 0
    for record in records:
        dict(record)  # A consumer reads the fields, which an exporter may fill only then.
        count += 1
    return count


def encoded(record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON that keeps the order of keys, and 1 apart from 1.0."""
    return f"{_ENCODER.encode(dict(record))}\n"


def error_of(action: Callable[[], object]) -> dict[str, Any] | None:
    """Perform an action and return the error that it raises, if any.

    Raises:
        NotAnExporterError: The object is no exporter: that is misuse, and not part of an export.
    """
    pid = os.getpid()
    try:
        action()
        end_if_forked(pid)
    except NotAnExporterError:
        raise
    except Exception as error:
        end_if_forked(pid)
        if isinstance(error, RecordsError):
            return {"type_name": "", "message": str(error), "classes": []}
        classes = [each.__qualname__ for each in type(error).__mro__]
        return {"type_name": classes[0], "message": str(error), "classes": classes}
    return None


def one_line(error: BaseException, *, named: bool = False) -> str:
    """Return the message of an error, cut to a line."""
    # A hostile exporter's exception may raise from __str__ too.
    try:
        message = str(error)
    except BaseException as other:
        message = f"(its message raised {type(other).__name__})"
    text = f"{type(error).__name__}: {message}" if named else message
    return " ".join(text.split())[:MESSAGE_LENGTH]


def _require_call(
    name: str, function: Callable[..., object], *args: object, **options: object
) -> None:
    # Before the call: a TypeError from the exporter's own code is part of its export instead.
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # A builtin without a signature: the call shows it.
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        # With its parameters, which show what the call has to be.
        message = (
            f"{name}{signature} cannot be called as an exporter: {error}; {ANOTHER_FACTORY} that "
            "takes (db, signing_key), or has export_run(run_id, sign=False)"
        )
        raise NotAnExporterError(message) from None


def _foreign(value: object) -> dict[str, str]:
    return {"class": type(value).__qualname__, "repr": repr(value)}


# One for all records: `json.dumps` would make an encoder for each.
_ENCODER = json.JSONEncoder(default=_foreign)
