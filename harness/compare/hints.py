"""Hints: the likely cause of a difference, where the records show one."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice, pairwise
from types import MappingProxyType

import rfc8785

from harness.compare.records import MANIFEST, Record, Records, RecordType, signature_of, type_of

# Enough to recognise an order, and small enough to hold in memory.
_SAMPLE_RECORDS = 1000
# What a constructor says that expects something else than a database object with an engine.
_OF_DATABASE = re.compile(r"^(Attribute|Argument|Type)Error: .*\b(LandscapeDB|Database)\b")
_MANIFEST_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "record_count": "it counts the records before the manifest",
        "final_hash": "it is SHA-256 over the hexadecimal signatures, in emission order",
        "exported_at": "it is the time by the exporter's clock, in UTC with its offset",
        "signature": "it covers the manifest without its signature",
    }
)


def of_field(expected: Record, found: Record, field: str) -> str:
    """Return the likely reason why a field of a record differs; empty if the values show none.

    Args:
        expected: The control's record.
        found: The candidate's form of the same record.
        field: The first field that differs.
    """
    if field not in found:
        return f"the candidate's {expected['record_type']} records lack the key {field}"
    if expected["record_type"] == MANIFEST:
        return _MANIFEST_HINTS.get(field, "")
    if field not in expected:
        return f"the control's {expected['record_type']} records have no key {field}"
    one, other = expected[field], found[field]
    if other is None:
        return "a value became null: is a guard inverted?"
    if isinstance(one, str) and isinstance(other, str):
        return _of_text(one, other)
    if isinstance(one, float) and type(other) is int:
        return "the column's Float conversion is bypassed: does it read with raw SQL?"
    return ""


def of_signature(record: Record, key: bytes) -> str:
    """Return which bytes a wrong signature covers, if that is a known mistake."""
    unsigned = {name: value for name, value in record.items() if name != "signature"}
    signature = record.get("signature")
    # A value without a canonical form was signed in another way.
    with suppress(ValueError):
        message = rfc8785.dumps({**unsigned, "signature": ""})
        if signature == signature_of(message, key):
            return "it covers a record that already holds a signature"
    not_canonical = (
        json.dumps(unsigned),
        json.dumps(unsigned, sort_keys=True),
        json.dumps(unsigned, sort_keys=True, separators=(",", ":")),
    )
    if any(signature == signature_of(text.encode(), key) for text in not_canonical):
        return "it covers json.dumps, which is not canonical JSON (RFC 8785)"
    return "another key, or other bytes than the record's canonical JSON"


def of_error(error: str, records: int) -> str:
    """Return the likely reason why only one of two exports ended in an error.

    Args:
        error: The candidate's error with its class; empty if only the control raised one.
        records: The candidate's records before it.
    """
    if not error:
        return "the candidate exports a value that no export may carry"
    if not records and _OF_DATABASE.search(error):
        return (
            "its constructor gets the database object. If it takes an engine, a session or a URL, "
            "name a function with --candidate that passes it on"
        )
    return ""


def of_lack(expected: Record) -> str:
    """Return under which parent a missing record stood."""
    parent = type_of(expected).parent
    return f"its {parent} is {expected[parent]}" if parent and parent in expected else ""


def of_order(expected: Record, found: Record, control: Records, candidate: Records) -> str:
    """Return what the candidate's records appear to be sorted by, and what the control's are.

    Args:
        expected: The control's record at the first mismatch.
        found: The candidate's record there.
        control: All of the control's records.
        candidate: All of the candidate's records.
    """
    kind = type_of(expected)
    wanted = ", ".join(kind.order) or "emission order"
    if kind.name != found.get("record_type"):
        return (
            f"a {found.get('record_type')} record stands where the control has a {kind.name} record"
        )
    # Siblings first: a wrong order below one parent need not show over all records of a type.
    same_type = (each for each in candidate if each.get("record_type") == kind.name)
    for records in (_siblings(candidate, kind, expected), list(islice(same_type, _SAMPLE_RECORDS))):
        sorting = _sorting(records, kind)
        if sorting:
            return f"same records in another order: looks sorted by {sorting}, expected {wanted}"
    return f"same records in another order, expected {wanted}"


def _of_text(expected: str, found: str) -> str:
    if "." in found and found.rpartition(".")[2].lower() == expected.lower():
        return "that is the str() of an enum member: export its value"
    if found == expected.replace("T", " "):
        return (
            "a blank stands for the T of ISO 8601: is it str(), or raw SQL, instead of isoformat?"
        )
    if expected.startswith(found) and expected[len(found) :] == "+00:00":
        return "the offset from UTC was dropped: is the column read with raw SQL?"
    return ""


def _siblings(records: Records, kind: RecordType, like: Record) -> list[Record]:
    """Return the first records of a type that have the same parent as a record."""
    parent = like.get(kind.parent or "")
    near = (each for each in records if each.get("record_type") == kind.name)
    same = (each for each in near if each.get(kind.parent or "") == parent)
    return list(islice(same, _SAMPLE_RECORDS))


def _sorting(records: list[Record], kind: RecordType) -> str:
    """Name a field that sorts the records, but should not, or not alone."""
    # The likeliest mistakes first. Several fields may rise together, and the first one is named.
    in_records = [name for name in kind.order if records and name in records[0]]
    leading, others = in_records[:1], [name for name in records[0] if name not in in_records[:1]]
    for name in leading:
        if _is_sorted(records, name, nulls_last=True) and len(kind.order) > 1:
            return f"{name} alone"
        if _is_sorted(records, name, nulls_last=False):
            return f"{name} with NULLS FIRST"
    for name in others:
        if _is_sorted(records, name, nulls_last=True):
            return name
    for name in leading:
        if _is_sorted(records[::-1], name, nulls_last=False):
            return f"{name} descending"
    return ""


def _is_sorted(records: list[Record], name: str, *, nulls_last: bool) -> bool:
    """Whether a field rises from record to record."""
    values = [record.get(name) for record in records]
    # Values of several types cannot be compared, and a constant field shows no order.
    if len({type(value) for value in values if value is not None}) != 1 or len(set(values)) < 2:
        return False
    keys = [
        ((value is None) is nulls_last, *(() if value is None else (value,))) for value in values
    ]
    return all(one <= other for one, other in pairwise(keys))
