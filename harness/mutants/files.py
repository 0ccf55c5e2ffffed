"""File operators: the records are right, and the files that hold them are not.

A fault is in the bytes, in the mode, or in what happens to the files of an earlier export.
"""

import csv
import inspect
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from elspeth.core.landscape.export.encoding import encode_line
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.output.publish import PublishedExport
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant

Change: TypeAlias = Callable[[ExporterClass], ExporterClass]
AfterFile: TypeAlias = Callable[[Path], object]
"""Changes a file or a folder that a correct export has published."""
_TYPES = (*(kind.name for kind in RECORD_TYPES), MANIFEST)


def file_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all file operators over one design."""
    for form, methods in (("jsonl", _JSONL), ("csv", _CSV)):
        for part, (description, change) in methods.items():
            yield Mutant(f"change-{form}", design.name, part, description, change)
    for name in _TYPES:
        yield Mutant(
            "drop-csv-file",
            design.name,
            name,
            f"the CSV export has no {name}.csv",
            _csv(partial(_remove, f"{name}.csv")),
        )


def _jsonl(change: AfterFile) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def write_jsonl(self, run_id: str, path: Path, *args: Any, **options: Any) -> Any:
                published = super().write_jsonl(run_id, path, *args, **options)
                change(path)
                return published

        return Faulty

    return apply


def _csv(change: AfterFile) -> Change:
    def apply(base: ExporterClass) -> ExporterClass:
        class Faulty(base):  # type: ignore[valid-type, misc]
            def write_csv(self, run_id: str, directory: Path, *args: Any, **options: Any) -> Any:
                published = super().write_csv(run_id, directory, *args, **options)
                change(directory)
                return published

        return Faulty

    return apply


def _bytes(change: Callable[[bytes], bytes]) -> Change:
    return _jsonl(lambda path: _rewrite(path, change))


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    # In place, so that the mode stays.
    path.write_bytes(change(path.read_bytes()))


def _each_file(change: Callable[[bytes], bytes]) -> Change:
    def apply(directory: Path) -> None:
        for path in sorted(directory.iterdir()):
            _rewrite(path, change)

    return _csv(apply)


def _each_table(write: Callable[[list[list[str]]], str]) -> Change:
    """Write the cells of every CSV file again, in another way."""

    def change(content: bytes) -> bytes:
        text = io.StringIO(content.decode(), newline="")
        return write(list(csv.reader(text))).encode()

    return _each_file(change)


def _written(cells: list[list[str]], **options: Any) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, **options).writerows(cells)
    return text.getvalue()


def _columns(cells: list[list[str]], order: Callable[[list[str]], list[str]]) -> str:
    places = [cells[0].index(name) for name in order(cells[0])]
    return _written([[row[place] for place in places] for row in cells])


def _remove(name: str, directory: Path) -> None:
    (directory / name).unlink(missing_ok=True)


def _plain_jsonl(
    base: ExporterClass, *, open_mode: str = "wb", keep: bool = False, beside: bool = False
) -> ExporterClass:
    """Write a JSON Lines file without the publication of the original.

    Args:
        base: The exporter.
        open_mode: How the file is opened.
        keep: Whether an existing file stays.
        beside: Whether a finished copy stays beside the file.
    """

    class Faulty(base):  # type: ignore[valid-type, misc]
        def write_jsonl(
            self, run_id: str, path: Path, sign: bool = False, **options: Any
        ) -> PublishedExport:
            if keep and path.exists():
                return PublishedExport(path, 0, path.stat().st_size, "")
            with path.open(open_mode) as file:
                for record in self.export_run(run_id, sign=sign):
                    file.write(encode_line(record))
            if beside:
                path.with_name(f"{path.name}.tmp").write_bytes(path.read_bytes())
            return PublishedExport(path, 0, path.stat().st_size, "")

    return Faulty


def _encoded(base: ExporterClass, encode: Callable[[dict[str, Any]], bytes]) -> ExporterClass:
    """Write every record of a JSON Lines file with another encoding."""

    def change(content: bytes) -> bytes:
        return b"".join(encode(json.loads(line)) + b"\n" for line in content.splitlines())

    return _bytes(change)(base)


def _sign_ignored(base: ExporterClass, method: str) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        pass

    original = getattr(base, method)

    def unsigned(self: Any, run_id: str, path: Path, sign: bool = False, **options: Any) -> Any:
        return original(self, run_id, path, sign=False, **options)

    unsigned.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    setattr(Faulty, method, unsigned)
    return Faulty


def _partial_file(base: ExporterClass) -> ExporterClass:
    """Publish what was written before an error, and hide the error."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def write_jsonl(
            self, run_id: str, path: Path, sign: bool = False, **options: Any
        ) -> PublishedExport:
            lines = []
            try:
                for record in self.export_run(run_id, sign=sign):
                    lines.append(encode_line(record))
            except Exception:
                path.write_bytes(b"".join(lines))
                raise
            published: PublishedExport = super().write_jsonl(run_id, path, sign, **options)
            return published

    return Faulty


def _error_hidden(base: ExporterClass, method: str) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        pass

    original = getattr(base, method)

    def quiet(self: Any, run_id: str, path: Path, *args: Any, **options: Any) -> Any:
        try:
            return original(self, run_id, path, *args, **options)
        except Exception:
            return PublishedExport(path, 0, 0, "")

    quiet.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    setattr(Faulty, method, quiet)
    return Faulty


def _in_place_csv(base: ExporterClass, *, clear: bool) -> ExporterClass:
    """Write CSV files into the folder of an earlier export.

    Args:
        base: The exporter.
        clear: Whether the earlier files are removed first. An error then leaves neither export.
    """

    class Faulty(base):  # type: ignore[valid-type, misc]
        def write_csv(
            self, run_id: str, directory: Path, sign: bool = False, **options: Any
        ) -> PublishedExport:
            directory.mkdir(exist_ok=True)
            for path in directory.iterdir() if clear else ():
                path.unlink()
            with tempfile.TemporaryDirectory() as temporary:
                finished = Path(temporary, "csv")
                super().write_csv(run_id, finished, sign, **options)
                for path in finished.iterdir():
                    target = directory / path.name
                    target.write_bytes(path.read_bytes())
                    target.chmod(path.stat().st_mode & 0o777)
            return PublishedExport(directory, 0, 0, "")

    return Faulty


def _leave(content: bytes, name: str, path: Path) -> None:
    (path / name if path.is_dir() else path.with_name(name)).write_bytes(content)


def _files_mode(mode: int, directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(mode)


def _empty_files(directory: Path) -> None:
    for name in _TYPES:
        (directory / f"{name}.csv").touch()


def _renamed(change: Callable[[str], str], directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        path.rename(directory / change(path.name))


_JSONL: dict[str, tuple[str, Change]] = {
    "mode-644": ("everyone can read the file", _jsonl(lambda path: path.chmod(0o644))),
    "mode-666": ("everyone can write the file", _jsonl(lambda path: path.chmod(0o666))),
    "mode-700": ("the file can be executed", _jsonl(lambda path: path.chmod(0o700))),
    "mode-400": ("the file cannot be written", _jsonl(lambda path: path.chmod(0o400))),
    "no-last-newline": ("the last newline is missing", _bytes(lambda text: text[:-1])),
    "blank-line": ("an empty line follows the last", _bytes(lambda text: text + b"\n")),
    "crlf": ("lines end in CRLF", _bytes(lambda text: text.replace(b"\n", b"\r\n"))),
    "bom": ("a byte order mark comes first", _bytes(lambda text: b"\xef\xbb\xbf" + text)),
    "nul": ("a NUL follows the last line", _bytes(lambda text: text + b"\0")),
    "last-line": ("the last line is lost", _bytes(lambda text: text[: text[:-1].rfind(b"\n") + 1])),
    "first-line-twice": (
        "the first line comes twice",
        _bytes(lambda text: text[: text.find(b"\n") + 1] + text),
    ),
    "cut-1-mb": ("bytes after one megabyte are lost", _bytes(lambda text: text[: 2**20])),
    "array": (
        "the file is one JSON array",
        _bytes(lambda text: b"[" + text[:-1].replace(b"\n", b",\n") + b"]\n"),
    ),
    "ascii": (
        "text is escaped to ASCII",
        partial(_encoded, encode=lambda r: json.dumps(r, separators=(",", ":")).encode()),
    ),
    "separators": (
        "blanks follow separators",
        partial(_encoded, encode=lambda r: json.dumps(r, ensure_ascii=False).encode()),
    ),
    "key-order": (
        "keys are in reverse order",
        partial(
            _encoded,
            encode=lambda r: json.dumps(
                dict(reversed(r.items())), separators=(",", ":"), ensure_ascii=False
            ).encode(),
        ),
    ),
    "extension": (
        "the file gets another name",
        _jsonl(lambda path: path.rename(path.with_suffix(".json"))),
    ),
    "copy": ("a copy stays beside the file", partial(_plain_jsonl, beside=True)),
    "temporary-file": (
        "a temporary file stays beside the file",
        _jsonl(partial(_leave, b"left\n", ".export.tmp")),
    ),
    "append": ("lines are appended to an old file", partial(_plain_jsonl, open_mode="ab")),
    "in-place": ("an error leaves a truncated file", _plain_jsonl),
    "keep-old": ("an old file stays", partial(_plain_jsonl, keep=True)),
    "exclusive": ("an old file is an error", partial(_plain_jsonl, open_mode="xb")),
    "partial": ("what was written before an error is published", _partial_file),
    "hide-error": ("an error is hidden", partial(_error_hidden, method="write_jsonl")),
    "unsigned": ("sign is ignored", partial(_sign_ignored, method="write_jsonl")),
}
"""By part: the description of a change to write_jsonl, and the change."""

_CSV: dict[str, tuple[str, Change]] = {
    "mode-644": ("everyone can read the files", _csv(partial(_files_mode, 0o644))),
    "mode-700": ("the files can be executed", _csv(partial(_files_mode, 0o700))),
    "folder-mode": ("everyone can enter the folder", _csv(lambda path: path.chmod(0o777))),
    "keep-old-files": ("files of an earlier export stay", partial(_in_place_csv, clear=False)),
    "clear-first": ("an error leaves neither export", partial(_in_place_csv, clear=True)),
    "temporary-file": ("a temporary file stays", _csv(partial(_leave, b"", ".export.tmp"))),
    "file-beside": (
        "a file stays beside the folder",
        _csv(lambda path: _leave(b"", f"{path.name}.log", path.parent)),
    ),
    "empty-types": ("types without records have empty files", _csv(_empty_files)),
    "upper": ("file names are upper case", _csv(partial(_renamed, str.upper))),
    "plural": (
        "file names are plural",
        _csv(partial(_renamed, lambda name: name.replace(".csv", "s.csv"))),
    ),
    "bom": ("a byte order mark comes first", _each_file(lambda text: b"\xef\xbb\xbf" + text)),
    "lf": ("lines end in LF", _each_table(partial(_written, lineterminator="\n"))),
    "no-header": ("the header is missing", _each_table(lambda cells: _written(cells[1:]))),
    "header-twice": (
        "the header comes twice",
        _each_table(lambda cells: _written([cells[0], *cells])),
    ),
    "quote-all": ("every cell is quoted", _each_table(partial(_written, quoting=csv.QUOTE_ALL))),
    "semicolon": ("semicolons separate cells", _each_table(partial(_written, delimiter=";"))),
    "backslash": (
        "quotes are escaped with backslashes",
        _each_table(partial(_written, doublequote=False, escapechar="\\")),
    ),
    "columns-reversed": (
        "columns come in reverse order",
        _each_table(partial(_columns, order=lambda names: names[::-1])),
    ),
    "column-lost": (
        "the last column is lost",
        _each_table(partial(_columns, order=lambda names: names[:-1])),
    ),
    "null-as-text": (
        "empty cells hold NULL",
        _each_table(lambda cells: _written([[cell or "NULL" for cell in row] for row in cells])),
    ),
    "strip": (
        "blanks at the ends of cells are lost",
        _each_table(lambda cells: _written([[cell.strip() for cell in row] for row in cells])),
    ),
    "line-breaks": (
        "line breaks in cells become blanks",
        _each_table(
            lambda cells: _written([[cell.replace("\n", " ") for cell in row] for row in cells])
        ),
    ),
    "formula": (
        "a quote precedes cells that start like a formula",
        _each_table(
            lambda cells: _written(
                [
                    [f"'{cell}" if cell[:1] in "=+-@" and cell else cell for cell in row]
                    for row in cells
                ]
            )
        ),
    ),
    "last-row": (
        "the last row of every file is lost",
        _each_table(lambda cells: _written(cells[:-1])),
    ),
    "sorted": (
        "rows are sorted by their cells",
        _each_table(lambda cells: _written([cells[0], *sorted(cells[1:])])),
    ),
    "hide-error": ("an error is hidden", partial(_error_hidden, method="write_csv")),
    "unsigned": ("sign is ignored", partial(_sign_ignored, method="write_csv")),
}
"""By part: the description of a change to write_csv, and the change."""
