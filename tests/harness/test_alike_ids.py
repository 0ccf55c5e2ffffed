"""The runs of the checks hold ids that a folded, cut or joined key takes for one another."""

import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from typing import Any
from urllib.parse import unquote_plus

import pytest

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.checks.content_specs import CONTENT_SPECS
from harness.generate.features.ids import SEPARATORS
from harness.generate.generator import generate_run

_KEYS: Mapping[str, Callable[[str], object]] = {
    "CRC-32": lambda id_: zlib.crc32(id_.encode()),
    "Adler-32": lambda id_: zlib.adler32(id_.encode()),
    "a sum of bytes": lambda id_: sum(id_.encode()),
    "times 31": lambda id_: reduce(lambda found, letter: found * 31 + ord(letter), id_, 0),
    "times 33": lambda id_: reduce(lambda found, letter: found * 33 + ord(letter), id_, 0),
    "without dashes": lambda id_: id_.replace("-", ""),
    "underscores as dashes": lambda id_: id_.replace("_", "-"),
    "dots as dashes": lambda id_: id_.replace(".", "-"),
    "letters and digits": lambda id_: re.sub(r"\W", "", id_),
    "without braces": lambda id_: id_.strip("{}"),
    "without a scheme": lambda id_: id_.rpartition(":")[2],
    "without quotes": lambda id_: id_.strip("\"'"),
    "lower case": str.lower,
    "case folded": str.casefold,
    "stripped at the end": str.rstrip,
    "stripped at the start": str.lstrip,
    "one blank": lambda id_: " ".join(id_.split()),
    "NFC": lambda id_: unicodedata.normalize("NFC", id_),
    "NFD": lambda id_: unicodedata.normalize("NFD", id_),
    "NFKC": lambda id_: unicodedata.normalize("NFKC", id_),
    "ASCII": lambda id_: unicodedata.normalize("NFKD", id_).encode("ascii", "ignore"),
    "without leading zeros": lambda id_: id_.lstrip("0"),
    "as a number": lambda id_: _number(float, id_),
    "as an integer": lambda id_: _number(int, id_),
    "without a sign": lambda id_: id_.lstrip("+-"),
    "the first 32": lambda id_: id_[:32],
    "the first 36": lambda id_: id_[:36],
    "the first 64": lambda id_: id_[:64],
    "the last 32": lambda id_: id_[-32:],
    "to a NUL": lambda id_: id_.partition("\0")[0],
    "decoded": unquote_plus,
    "without a slash": lambda id_: id_.rstrip("/"),
    **{f"to {each!r}": lambda id_, each=each: id_.partition(each)[0] for each in "-_|:/#@,. "},
}
_OWN = {
    "node": "node_id",
    "edge": "edge_id",
    "row": "row_id",
    "token": "token_id",
    "node_state": "state_id",
    "routing_event": "event_id",
    "call": "call_id",
    "batch": "batch_id",
    "artifact": "artifact_id",
}
_PARENTS = {
    "token": "row_id",
    "token_parent": "token_id",
    "node_state": "token_id",
    "routing_event": "state_id",
    "call": "state_id",
    "batch_member": "batch_id",
}
"""By the type of a record, the parent below which there are many in one of the runs."""
_JOINED = [
    ("token", "row_id", "token_id"),
    ("token_parent", "token_id", "parent_token_id"),
    ("node_state", "token_id", "state_id"),
    ("routing_event", "state_id", "event_id"),
    ("call", "state_id", "call_id"),
    ("batch_member", "batch_id", "token_id"),
    ("edge", "from_node_id", "edge_id"),
    ("artifact", "sink_node_id", "artifact_id"),
]


def _number(read: Callable[[str], object], id_: str) -> object:
    try:
        return read(id_)
    except ValueError:
        return id_


@cache
def _records(prefix: str) -> Sequence[Mapping[str, Any]]:
    """The records of the runs whose names begin so."""
    found: list[Mapping[str, Any]] = []
    for spec in CONTENT_SPECS:
        if spec.run_id.startswith(prefix):
            with LandscapeDB.in_memory() as db:
                generate_run(db, spec)
                found += LandscapeExporter(db).export_run(spec.run_id)
    return found


@pytest.mark.parametrize("name", _KEYS)
def test_a_run_holds_ids_of_every_table_that_are_equal_as(name: str) -> None:
    records = _records("ids_taken_for_equal")
    lacking = []
    for kind, own in _OWN.items():
        ids = {each[own] for each in records if each["record_type"] == kind}
        if len({_KEYS[name](each) for each in ids}) == len(ids):
            lacking.append(kind)
    assert lacking == []


@pytest.mark.parametrize("name", _KEYS)
def test_children_of_one_parent_have_ids_that_are_equal_as(name: str) -> None:
    records = _records("ids_taken_for_equal")
    lacking = []
    for kind, parent in _PARENTS.items():
        own = {"token_parent": "parent_token_id", "batch_member": "token_id"}.get(kind)
        by_parent: defaultdict[str, set[str]] = defaultdict(set)
        for each in records:
            if each["record_type"] == kind:
                by_parent[each[parent]].add(each[own or _OWN[kind]])
        # Two calls of a state are of one form, and all forms are among those of the run.
        if all(len({_KEYS[name](id_) for id_ in ids}) == len(ids) for ids in by_parent.values()):
            lacking.append(kind)
    assert lacking == []


@pytest.mark.parametrize("separator", SEPARATORS)
def test_two_ids_joined_with_a_separator_are_the_same_text_of_two_records(separator: str) -> None:
    lacking = []
    for kind, first, second in _JOINED:
        found = [
            f"{each[first]}{separator}{each[second]}"
            for each in _records("ids_of_joined_parts")
            if each["record_type"] == kind
        ]
        if len(set(found)) == len(found):
            lacking.append((kind, first, second))
    assert lacking == []
