"""The verifier shares no code with an exporter, and rejects what a wrong exporter would write."""

import ast
import csv
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from sample_run import KEY
from signed_exports import Record, as_export, export_lines, records_of, shortened
from sqlalchemy import Constraint, Float, Integer, UniqueConstraint

import elspeth
from elspeth.core.landscape.schema import metadata
from elspeth.core.landscape.verification.record_shapes import SHAPES, TABLE_NAMES
from elspeth.core.landscape.verification.verify import Reason, verify

SOURCE = Path(elspeth.__file__).parent
VERIFIER = "elspeth.core.landscape.verification"
SHARED = {
    "elspeth.contracts.enums",
    "elspeth.contracts.errors",
    # Of what gzip and zstd write: their own libraries read it, and check it by a sum.
    "elspeth.core.compression",
    # The words about a package that is not installed.
    "elspeth.core.extras",
    "elspeth.core.landscape.keys",
    "elspeth.core.safe_open",
}
"""The modules that the verifier may share with an exporter: enums, reading of keys."""

Encode = Callable[[Record], bytes]
Sign = Callable[[Record], str]


def path_of(module: str) -> Path | None:
    """The file of a module of elspeth; None for anything else."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((each for each in candidates if each.is_file()), None)


def imports_of(path: Path) -> Iterator[str]:
    """Every module of elspeth that a file imports, anywhere in it and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {path}"
            names = [
                name if path_of(name := f"{node.module}.{alias.name}") else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "elspeth")


def closure(modules: Iterable[str]) -> set[str]:
    """These modules, and all modules of elspeth that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module not in found and path is not None:
            found.add(module)
            waiting += imports_of(path)
    return found


def test_the_verifier_imports_only_what_it_may_share() -> None:
    folder = SOURCE / "core" / "landscape" / "verification"
    own = {f"{VERIFIER}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"}
    assert len(own) > 5
    assert closure(own) - own == SHARED


KINDS = {Integer: frozenset({int}), Float: frozenset({int, float})}


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_shape_has_the_types_and_the_key_of_its_table(name: str) -> None:
    shape, table = SHAPES[name], metadata.tables[TABLE_NAMES[name]]
    stored = {field: table.c[field] for field in shape.fields if field in table.c}
    assert shape.fields.keys() - stored.keys() <= {"record_type", "run_id"}
    for field, column in stored.items():
        kind = KINDS.get(type(column.type), frozenset({str}))
        found = shape.fields[field]
        assert (found.types, found.nullable) == (kind, bool(column.nullable)), field
    unique: list[Any] = [table.primary_key, *filter(is_unique, table.constraints)]
    assert shape.primary_key in [tuple(each.columns.keys()) for each in unique]


def is_unique(constraint: Constraint) -> bool:
    return isinstance(constraint, UniqueConstraint)


def test_the_search_for_imports_finds_an_exporter() -> None:
    """The test above would see it: the control publishes through the same search."""
    found = closure(["elspeth.core.landscape.legacy_exporter"])
    assert "elspeth.core.landscape.output.publish" in found
    assert "elspeth.core.clock" in found


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The unsigned records of a run with every record type, and one text that is not ASCII."""
    records = shortened(records_of(export_lines(tmp_path_factory.mktemp("export"))))
    calls = [record for record in records if record["record_type"] == "call"]
    calls[0]["latency_ms"], calls[1]["latency_ms"] = 12.0, 1e-7
    next(each for each in records if each["record_type"] == "artifact")["path_or_uri"] = "é"
    return records


def digest(message: bytes, key: bytes = KEY) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def unsigned(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "signature"}


def manifest_of(run_id: str, count: int, final_hash: str) -> Record:
    return {
        "record_type": "manifest",
        "run_id": run_id,
        "record_count": count,
        "final_hash": final_hash,
        "hash_algorithm": "sha256",
        "signature_algorithm": "hmac-sha256",
        "exported_at": "2026-01-02T00:00:00+00:00",
    }


def final_hash(signatures: Iterable[str]) -> str:
    return hashlib.sha256("".join(signatures).encode()).hexdigest()


def exported(records: list[Record], encode: Encode, sign: Sign) -> bytes:
    """Write a whole export with one encoder and one signer, manifest included."""
    signatures = [sign(record) for record in records]
    manifest = manifest_of(records[0]["run_id"], len(records), final_hash(signatures))
    everything = zip([*records, manifest], [*signatures, sign(manifest)], strict=True)
    lines = (encode({**record, "signature": signature}) for record, signature in everything)
    return b"".join(line + b"\n" for line in lines)


def canonical_signature(record: Record) -> str:
    return digest(rfc8785.dumps(record))


def joined(
    items: Iterable[tuple[str, object]],
    *,
    comma: bytes = b",",
    colon: bytes = b":",
    encode: Callable[[Any], bytes] = rfc8785.dumps,
) -> bytes:
    """Write an object from the encodings of its keys and values, in the order given."""
    return b"{%b}" % comma.join(encode(key) + colon + encode(value) for key, value in items)


def as_python_number(value: object) -> bytes:
    return repr(value).encode() if isinstance(value, float) else rfc8785.dumps(value)


def as_ascii(value: Any) -> bytes:
    return json.dumps(value).encode() if isinstance(value, str) else rfc8785.dumps(value)


WRONG_ENCODERS: Mapping[str, Encode] = {
    "numbers as Python writes them": lambda record: joined(
        sorted(record.items()), encode=as_python_number
    ),
    "keys in insertion order": lambda record: joined(record.items()),
    "blanks behind separators": lambda record: joined(
        sorted(record.items()), comma=b", ", colon=b": "
    ),
    "text escaped to ASCII": lambda record: joined(sorted(record.items()), encode=as_ascii),
    "the signature last": lambda record: (
        rfc8785.dumps(unsigned(record))[:-1] + b',"signature":"%b"}' % record["signature"].encode()
    ),
    "CR LF": lambda record: rfc8785.dumps(record) + b"\r",
}


def reasons(path: Path, content: bytes) -> set[Reason]:
    path.write_bytes(content)
    return {defect.reason for defect in verify(path, KEY).defects}


def test_a_right_encoder_and_signer_pass(records: list[Record], tmp_path: Path) -> None:
    content = exported(records, rfc8785.dumps, canonical_signature)
    assert reasons(tmp_path / "run.jsonl", content) == set()
    assert content == exported(
        records, lambda record: joined(sorted(record.items())), canonical_signature
    )


@pytest.mark.parametrize("wrong", WRONG_ENCODERS)
def test_a_wrong_encoder_is_caught_although_every_signature_fits_the_record(
    wrong: str, records: list[Record], tmp_path: Path
) -> None:
    content = exported(records, WRONG_ENCODERS[wrong], canonical_signature)
    assert Reason.NOT_CANONICAL in reasons(tmp_path / "run.jsonl", content)


@pytest.mark.parametrize("wrong", WRONG_ENCODERS)
def test_a_wrong_encoder_is_caught_although_every_signature_fits_its_bytes(
    wrong: str, records: list[Record], tmp_path: Path
) -> None:
    encode = WRONG_ENCODERS[wrong]

    def sign(record: Record) -> str:
        return digest(encode({**record, "signature": ""}).replace(b',"signature":""', b""))

    content = exported(records, encode, sign)
    assert Reason.NOT_CANONICAL in reasons(tmp_path / "run.jsonl", content)


WRONG_SIGNERS: Mapping[str, Sign] = {
    "signs json.dumps": lambda record: digest(json.dumps(record).encode()),
    "signs 12.0 with its fraction": lambda record: digest(
        rfc8785.dumps(record).replace(b'"latency_ms":12,', b'"latency_ms":12.0,')
    ),
    "signs an empty signature with it": lambda record: digest(
        rfc8785.dumps({**record, "signature": ""})
    ),
    "signs the newline with it": lambda record: digest(rfc8785.dumps(record) + b"\n"),
    "signs all fields but the last": lambda record: digest(
        rfc8785.dumps(dict(list(record.items())[:-1]))
    ),
    "hashes the key first": lambda record: digest(
        rfc8785.dumps(record), hashlib.sha256(KEY).digest()
    ),
    "prefixes the key": lambda record: hashlib.sha256(KEY + rfc8785.dumps(record)).hexdigest(),
    "uses another hash": lambda record: hmac.new(
        KEY, rfc8785.dumps(record), hashlib.sha3_256
    ).hexdigest(),
    "writes capitals": lambda record: canonical_signature(record).upper(),
    "writes half of it": lambda record: canonical_signature(record)[:32],
}


@pytest.mark.parametrize("wrong", WRONG_SIGNERS)
def test_a_wrong_signer_is_caught(wrong: str, records: list[Record], tmp_path: Path) -> None:
    content = exported(records, rfc8785.dumps, WRONG_SIGNERS[wrong])
    assert reasons(tmp_path / "run.jsonl", content) == {Reason.BAD_SIGNATURE}


@pytest.mark.parametrize(
    ("wrong", "change", "reason"),
    [
        ("counts itself", lambda m, _: {"record_count": m["record_count"] + 1}, Reason.COUNT),
        (
            "hashes the digests, not their digits",
            lambda _, signatures: {
                "final_hash": hashlib.sha256(bytes.fromhex("".join(signatures))).hexdigest()
            },
            Reason.HASH,
        ),
        (
            "hashes all but the last",
            lambda _, signatures: {"final_hash": final_hash(signatures[:-1])},
            Reason.HASH,
        ),
        (
            "hashes lines",
            lambda _, signatures: {"final_hash": final_hash(f"{each}\n" for each in signatures)},
            Reason.HASH,
        ),
    ],
)
def test_a_wrong_manifest_is_caught(
    wrong: str,
    change: Callable[[Record, list[str]], Record],
    reason: Reason,
    records: list[Record],
    tmp_path: Path,
) -> None:
    *lines, last = as_export(records).splitlines()
    signatures = [json.loads(line)["signature"] for line in lines]
    manifest = unsigned(json.loads(last))
    manifest |= change(manifest, signatures)
    line = rfc8785.dumps({**manifest, "signature": canonical_signature(manifest)})
    content = b"".join(each + b"\n" for each in (*lines, line))
    assert reasons(tmp_path / "run.jsonl", content) == {reason}


def written_csv(records: Iterable[Record], folder: Path, **dialect: Any) -> Path:
    """Write records as a CSV export, the columns sorted."""
    tables: dict[str, list[Record]] = {}
    for record in records:
        tables.setdefault(record["record_type"], []).append(record)
    folder.mkdir()
    for name, rows in tables.items():
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, sorted(rows[0]), **dialect)
        writer.writeheader()
        writer.writerows(rows)
        (folder / f"{name}.csv").write_bytes(text.getvalue().encode())
    return folder


def signed_with(records: list[Record], sign: Sign) -> list[Record]:
    signatures = [sign(record) for record in records]
    manifest = manifest_of(records[0]["run_id"], len(records), final_hash(signatures))
    everything = zip([*records, manifest], [*signatures, sign(manifest)], strict=True)
    return [{**record, "signature": signature} for record, signature in everything]


def as_stored(records: list[Record]) -> list[Record]:
    """The records with floats as a database returns them: JSON has read 5.0 as 5."""
    floats = ("duration_ms", "latency_ms")
    return [
        {
            name: float(value) if name in floats and value is not None else value
            for name, value in record.items()
        }
        for record in records
    ]


class TestCsv:
    def test_a_right_writer_and_signer_pass(self, records: list[Record], tmp_path: Path) -> None:
        folder = written_csv(signed_with(as_stored(records), canonical_signature), tmp_path / "run")
        assert verify(folder, KEY).ok

    @pytest.mark.parametrize("wrong", [name for name in WRONG_SIGNERS if "12.0" not in name])
    def test_a_wrong_signer_is_caught(
        self, wrong: str, records: list[Record], tmp_path: Path
    ) -> None:
        signed = signed_with(as_stored(records), WRONG_SIGNERS[wrong])
        found = verify(written_csv(signed, tmp_path / "run"), KEY)
        assert {defect.reason for defect in found.defects} == {Reason.BAD_SIGNATURE}

    @pytest.mark.parametrize(
        ("dialect", "reason"),
        [
            ({"quoting": csv.QUOTE_ALL}, Reason.NOT_CANONICAL),
            ({"lineterminator": "\n"}, Reason.TORN_TAIL),
            ({"delimiter": ";"}, Reason.FIELDS),
        ],
    )
    def test_a_wrong_dialect_is_caught(
        self, dialect: Mapping[str, Any], reason: Reason, records: list[Record], tmp_path: Path
    ) -> None:
        signed = signed_with(as_stored(records), canonical_signature)
        found = verify(written_csv(signed, tmp_path / "run", **dialect), KEY)
        assert reason in {defect.reason for defect in found.defects}

    def test_a_number_in_the_form_of_json_is_caught(
        self, records: list[Record], tmp_path: Path
    ) -> None:
        signed = signed_with(
            [json.loads(rfc8785.dumps(each)) for each in records], canonical_signature
        )
        found = verify(written_csv(signed, tmp_path / "run"), KEY)
        assert Reason.VALUE in {defect.reason for defect in found.defects}
