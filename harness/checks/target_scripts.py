"""Call scripts that write to unusual paths: links, old files, relative paths, unusual names."""

from harness.checks.script_runs import (
    FILES,
    OTHER_RUN,
    build,
    link,
    place,
    write_csv,
    write_jsonl,
)
from harness.compare.call_outcomes import CallScript

_OLD = "an earlier export\n"
_NAMES = ("with blanks  in it", "u\u0308 \u4e2d \U0001f511", "-o [a]*'%41$HOME\\")
_SIMILAR = tuple(
    f"{stem}{suffix}"
    for stem in ("a.b.jsonl", "a.b", "a", ".a.b.jsonl", ".a.b")
    for suffix in (".tmp", ".temp", ".part", ".partial", ".bak", ".new", ".lock", "~")
)
_TARGET = "the path goes to the file system as it is, and a new file replaces what is there"
TARGET_SCRIPTS = (
    CallScript(
        "JSON Lines files at links",
        (
            build(),
            *(place("old", _OLD), link("a link", "old"), write_jsonl("a link", sign=False)),
            FILES,
            *(link("a dangling link", "nothing"), write_jsonl("a dangling link", sign=False)),
            FILES,
            *(place("folder/old", _OLD), link("a folder link", "folder")),
            *(write_jsonl("a folder link/new", sign=False), FILES),
            *(write_jsonl("a folder link", sign=False), FILES),
            *(link("itself", "itself"), write_jsonl("itself", sign=False), FILES),
        ),
        _TARGET,
    ),
    CallScript(
        "JSON Lines files with a hard link",
        (
            *(build(), place("old", _OLD), link("other name", "old", hard=True)),
            *(write_jsonl("old", sign=False), FILES),
        ),
        _TARGET,
    ),
    CallScript(
        "CSV directories at links",
        (
            build(),
            *(write_csv("old", OTHER_RUN, sign=False), link("a folder link", "old")),
            *(write_csv("a folder link", sign=False), FILES),
            *(link("a dangling link", "nothing"), write_csv("a dangling link", sign=False), FILES),
            *(place("file", _OLD), link("a link", "file"), write_csv("a link", sign=False)),
            FILES,
            *(link("above", "."), write_csv("above/new", sign=False), FILES),
        ),
        _TARGET,
    ),
    CallScript(
        "CSV directories with links in them",
        (
            *(build(), place("folder/run.csv", _OLD), place("kept", _OLD)),
            *(link("other name", "folder/run.csv", hard=True), link("folder/call.csv", "../kept")),
            *(write_csv("folder", sign=False), FILES),
        ),
        _TARGET,
    ),
    CallScript(
        "relative paths",
        (
            *(build(), place("folder/old", _OLD), write_jsonl("new", sign=False, relative=True)),
            FILES,
            *(write_jsonl("folder/old", sign=False, relative=True), FILES),
            *(write_csv("csv", sign=False, relative=True), FILES),
            *(write_csv("folder/csv", sign=False, relative=True), FILES),
        ),
        _TARGET,
    ),
    CallScript(
        "paths with unusual characters",
        (
            build(),
            *(write_jsonl(name, sign=False) for name in _NAMES),
            *(write_csv(f"{name} csv", OTHER_RUN, sign=False) for name in _NAMES),
            FILES,
        ),
        _TARGET,
    ),
    CallScript(
        "files of others with similar names",
        (
            *(build(), place("a.b.jsonl", _OLD), *(place(name, _OLD) for name in _SIMILAR)),
            *(write_jsonl("a.b.jsonl", sign=False), write_csv("a.b", sign=False), FILES),
        ),
        "a temporary file at a fixed name, which somebody else may use",
    ),
    CallScript(
        "read-only files",
        (
            *(build(), place("old", _OLD, 0o444), write_jsonl("old", sign=False)),
            *(place("csv/run.csv", _OLD, 0o444), write_csv("csv", sign=False), FILES),
        ),
        _TARGET,
    ),
)
"""What can be at the path of a file or a directory, and how the path can be spelt."""

DISK_SCRIPTS = (
    CallScript(
        "files on a full disk",
        (
            *(build(), place("old", _OLD), place("csv/run.csv", _OLD)),
            *(write_jsonl("old", sign=False, most_bytes=2_000), FILES),
            *(write_jsonl("new", sign=False, most_bytes=2_000), FILES),
            *(write_csv("csv", sign=False, most_bytes=500), FILES),
            *(write_csv("new csv", sign=False, most_bytes=500), FILES),
            *(write_jsonl("old", sign=False), write_csv("csv", sign=False), FILES),
        ),
        "an old file that is touched before the new one is whole, and parts that are left",
    ),
)
"""What is left where a file cannot be written to its end."""
