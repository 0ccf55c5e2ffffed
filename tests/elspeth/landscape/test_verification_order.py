"""Misplaced and repeated records, correctly signed."""

from io import BytesIO

import pytest
from sample_run import KEY
from signed_exports import Record, as_export

from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.record_order import (
    KEYS_REMEMBERED,
    RecordOrder,
    UniqueKeys,
)
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier
from elspeth.core.landscape.verification.verifier import Verifier
from elspeth.core.landscape.verification.verify import Defect, Reason

T = "2026-01-01T00:00:00"


def test_the_last_key_within_the_limit_is_remembered_and_the_next_is_not() -> None:
    order = RecordOrder()
    order.check("run", {"run_id": "run"})

    def edge(number: int) -> Defect | None:
        return order.check("edge", {"run_id": "run", "edge_id": f"e{number}"})

    assert not any(map(edge, range(KEYS_REMEMBERED + 1)))
    assert edge(KEYS_REMEMBERED) is None
    for number in (0, KEYS_REMEMBERED - 1):
        assert edge(number) == Defect(Reason.DUPLICATE, f"a second edge 'e{number}'")


ONE_OF_EACH: dict[str, Record] = {
    "run": {
        "status": "completed",
        "started_at": T,
        "completed_at": T,
        "canonical_version": "v1",
        "config_hash": "h",
        "reproducibility_grade": None,
    },
    "node": {
        "node_id": "n5",
        "plugin_name": "p",
        "node_type": "gate",
        "plugin_version": "1",
        "config_hash": "h",
        "schema_hash": None,
        "sequence_in_pipeline": 5,
    },
    "edge": {
        "edge_id": "e5",
        "from_node_id": "n5",
        "to_node_id": "n5",
        "label": "l",
        "default_mode": "move",
    },
    "row": {"row_id": "r5", "row_index": 5, "source_node_id": "n5", "source_data_hash": "h"},
    "token": {
        "token_id": "t5",
        "row_id": "r5",
        "step_in_pipeline": None,
        "branch_name": None,
        "fork_group_id": None,
        "join_group_id": None,
    },
    "token_parent": {"token_id": "t5", "parent_token_id": "p5", "ordinal": 5},
    "node_state": {
        "state_id": "s5",
        "token_id": "t5",
        "node_id": "n5",
        "step_index": 5,
        "attempt": 5,
        "status": "open",
        "input_hash": "h",
        "output_hash": None,
        "duration_ms": None,
        "started_at": T,
        "completed_at": None,
    },
    "routing_event": {
        "event_id": "v5",
        "state_id": "s5",
        "edge_id": "e5",
        "routing_group_id": "g",
        "ordinal": 5,
        "mode": "copy",
        "reason_hash": None,
    },
    "call": {
        "call_id": "c5",
        "state_id": "s5",
        "call_index": 5,
        "call_type": "llm",
        "status": "success",
        "request_hash": "h",
        "response_hash": None,
        "latency_ms": None,
    },
    "batch": {
        "batch_id": "b5",
        "aggregation_node_id": "n5",
        "attempt": 0,
        "status": "draft",
        "trigger_reason": None,
        "created_at": T,
        "completed_at": None,
    },
    "batch_member": {"batch_id": "b5", "token_id": "t5", "ordinal": 5},
    "artifact": {
        "artifact_id": "a5",
        "sink_node_id": "n5",
        "produced_by_state_id": "s5",
        "artifact_type": "file",
        "path_or_uri": "p",
        "content_hash": "h",
        "size_bytes": 0,
    },
}
KINDS = list(ONE_OF_EACH)
LAST_INSIDE = {"row": "call", "token": "call", "node_state": "call", "batch": "batch_member"}


def record(kind: str, **changes: object) -> Record:
    return {"record_type": kind, "run_id": "run", **ONE_OF_EACH[kind], **changes}


def export(*kinds: str) -> list[Record]:
    return [record(kind) for kind in kinds or KINDS]


def followed(kind: str, **changes: object) -> list[Record]:
    """One record of each type, and behind one of them, and all inside it, another of its type."""
    records = export()
    records.insert(KINDS.index(LAST_INSIDE.get(kind, kind)) + 1, record(kind, **changes))
    return records


def defects(records: list[Record], *, unique: bool = False) -> list[Defect]:
    """Sign records as they are, and verify them."""
    with UniqueKeys() as seen:
        signatures = SignatureVerifier(AcceptedSignatures((KEY,)))
        verifier = Verifier(signatures, unique_keys=seen if unique else None)
        for line in read_jsonl(BytesIO(as_export(records))):
            verifier.check(line)
    return list(verifier.result().defects)


def found(records: list[Record], *, unique: bool = False) -> list[tuple[str, int | None]]:
    return [(each.reason.value, each.line) for each in defects(records, unique=unique)]


class TestOrder:
    def test_one_record_of_every_type_is_a_valid_export(self) -> None:
        assert not defects(export())
        assert not defects(export("run"))

    @pytest.mark.parametrize(
        ("kind", "key", "before", "after"),
        [
            ("node", "node_id", {"sequence_in_pipeline": 4}, {"sequence_in_pipeline": 5}),
            ("node", "node_id", {"sequence_in_pipeline": 4}, {"sequence_in_pipeline": None}),
            ("row", "row_id", {"row_index": 4}, {"row_index": 6}),
            ("row", "row_id", {"row_index": 5}, {"row_index": 10}),
            ("token_parent", "parent_token_id", {"ordinal": 4}, {"ordinal": 6}),
            ("node_state", "state_id", {"step_index": 4, "attempt": 6}, {"step_index": 6}),
            ("node_state", "state_id", {"attempt": 4}, {"attempt": 6}),
            ("routing_event", "event_id", {"ordinal": 4}, {"ordinal": 6}),
            ("call", "call_id", {"call_index": 5}, {"call_index": 6}),
            ("batch", "batch_id", {"created_at": "2025-12-31T23:59:59.999999"}, {}),
            ("batch", "batch_id", {"created_at": T}, {"created_at": f"{T}.000001"}),
            ("batch_member", "token_id", {"ordinal": 4}, {"ordinal": 6}),
        ],
    )
    def test_siblings_ascend(self, kind: str, key: str, before: Record, after: Record) -> None:
        place = KINDS.index(LAST_INSIDE.get(kind, kind)) + 2
        # By its id alone it would come after what it follows, and before.
        assert found(followed(kind, **{key: "a" if kind == "batch" else "z"} | before)) == [
            ("ORDER", place)
        ]
        assert not defects(followed(kind, **{key: "z" if kind == "batch" else "a"} | after))

    @pytest.mark.parametrize(
        ("kind", "key"), [("edge", "edge_id"), ("token", "token_id"), ("artifact", "artifact_id")]
    )
    def test_records_in_order_of_creation_may_stand_in_any_order(self, kind: str, key: str) -> None:
        assert not defects(followed(kind, **{key: "a"}))
        assert not defects(followed(kind, **{key: "z"}))

    def test_events_of_one_ordinal_ascend_by_the_bytes_of_their_ids(self) -> None:
        assert not defects(followed("routing_event", event_id="v\U00010000"))
        records = followed("routing_event", event_id="v\ue000")
        assert not defects(records)
        records[KINDS.index("routing_event")]["event_id"] = "v\U00010000"
        assert found(records) == [("ORDER", KINDS.index("routing_event") + 2)]

    def test_the_first_node_without_a_sequence_number_ends_those_with_one(self) -> None:
        records = followed("node", node_id="a", sequence_in_pipeline=9)
        records[KINDS.index("node")]["sequence_in_pipeline"] = None
        assert found(records) == [("ORDER", 3)]

    @pytest.mark.parametrize(
        ("late", "early"),
        [
            ("edge", "node"),
            ("row", "edge"),
            ("batch", "row"),
            ("artifact", "batch"),
            ("node_state", "token_parent"),
            ("call", "routing_event"),
        ],
    )
    def test_types_inside_one_parent_take_turns(self, late: str, early: str) -> None:
        records = export()
        again = {"token_parent": "parent_token_id", "routing_event": "event_id"}
        moved = record(early, **{again.get(early, f"{early}_id"): "z"})
        at = KINDS.index(late) + 1
        message = f"a {early} after a {late}"
        assert defects([*records[:at], moved, *records[at:]])[0] == Defect(
            Reason.ORDER, message, at + 1
        )

    @pytest.mark.parametrize(
        ("kind", "field"),
        [
            ("token", "row_id"),
            ("token_parent", "token_id"),
            ("node_state", "token_id"),
            ("routing_event", "state_id"),
            ("call", "state_id"),
            ("batch_member", "batch_id"),
        ],
    )
    def test_a_record_stands_inside_the_one_it_names(self, kind: str, field: str) -> None:
        records = export()
        records[KINDS.index(kind)][field] = "x5"
        first = defects(records)[0]
        assert (first.reason, first.line) == (Reason.ORDER, KINDS.index(kind) + 1)
        assert f"a {kind} that does not stand inside its" in first.message

    @pytest.mark.parametrize("kind", ["run", "row", "token", "node_state", "batch"])
    def test_a_missing_parent_is_reported_once(self, kind: str) -> None:
        records = [each for each in export() if each["record_type"] != kind]
        assert found(records) == [("ORDER", KINDS.index(kind) + 1)]

    def test_a_missing_run_is_reported_once_and_by_its_name(self) -> None:
        (first,) = defects(export()[1:])
        assert first == Defect(Reason.ORDER, "a node that does not stand inside the run", 1)

    def test_a_record_under_no_parent_names_the_one_it_misses(self) -> None:
        (first,) = defects([each for each in export() if each["record_type"] != "token"])
        message = "a token_parent that does not stand inside its token 't5'"
        assert first == Defect(Reason.ORDER, message, KINDS.index("token") + 1)

    @pytest.mark.parametrize("kind", ["row", "token", "node_state"])
    def test_all_above_a_record_may_be_missing_and_that_is_one_mistake(self, kind: str) -> None:
        without = KINDS[: KINDS.index(kind) + 1]
        (first,) = defects([each for each in export() if each["record_type"] not in without])
        assert (first.reason, first.line) == (Reason.ORDER, 1)

    def test_the_place_before_a_misplaced_record_is_remembered(self) -> None:
        records = export()
        records[KINDS.index("token")]["row_id"] = "x5"
        end = KINDS.index("batch")
        again = [record("node", node_id="z"), record("row", row_index=6)]
        assert found([*records[:end], *again, *records[end:]]) == [
            ("ORDER", KINDS.index("token") + 1),
            ("ORDER", end + 1),
            ("DUPLICATE", end + 2),
        ]

    @pytest.mark.parametrize("run_id", ["run", "other"])
    def test_there_is_one_run(self, run_id: str) -> None:
        first, *others = export()
        second = defects([first, first | {"run_id": run_id}, *others])
        assert Defect(Reason.ORDER, "a second run", 2) in second


NEXT_IN_ORDER = {
    "row": {"row_index": 6},
    "token_parent": {"ordinal": 6},
    "node_state": {"attempt": 6},
    "call": {"call_index": 6},
    "batch_member": {"ordinal": 6},
}


class TestDuplicates:
    def test_a_repeated_or_misplaced_record_is_named(self) -> None:
        (repeated,) = defects(followed("row", row_index=6))
        assert repeated.message == "a second row 'r5'"
        (early,) = defects(followed("node_state", state_id="z", step_index=4))
        assert early.message == "a node_state out of order, which is by step_index, attempt"

    @pytest.mark.parametrize("unique", [False, True])
    @pytest.mark.parametrize("kind", KINDS[1:])
    def test_two_records_of_one_parent_may_not_share_their_key(
        self, kind: str, unique: bool
    ) -> None:
        place = KINDS.index(LAST_INSIDE.get(kind, kind)) + 2
        records = followed(kind, **NEXT_IN_ORDER.get(kind, {}))
        assert ("DUPLICATE", place) in found(records, unique=unique)

    @pytest.mark.parametrize("kind", ["token", "node_state", "routing_event", "call"])
    def test_records_of_different_parents_are_compared_on_request(self, kind: str) -> None:
        records = export()
        end = KINDS.index("call") + 1
        tree = records[KINDS.index("row") : end]
        ids = {"r5": "r6", "t5": "t6", "s5": "s6", "v5": "v6", "c5": "c6"}
        del ids[f"{'v' if kind == 'routing_event' else kind.replace('node_', '')[0]}5"]
        other = [{name: ids.get(value, value) for name, value in each.items()} for each in tree]
        other[0]["row_index"] = 6
        records[end:end] = other
        assert not defects(records)
        first = defects(records, unique=True)[0]
        at = end + [each["record_type"] for each in other].index(kind) + 1
        assert first == Defect(Reason.DUPLICATE, f"a second {kind} of this key", at)

    def test_a_full_disk_is_an_error_of_the_temporary_file(self) -> None:
        with UniqueKeys() as seen:
            assert seen.add("row", record("row"))
        with pytest.raises(OSError, match="temporary file of primary keys"):
            seen.add("row", record("row"))

    @pytest.mark.parametrize("kind", ["token_parent", "batch_member"])
    def test_a_token_may_be_a_parent_and_a_member_several_times(self, kind: str) -> None:
        parent = {"token_parent": "token", "batch_member": "batch"}[kind]
        records = followed(parent, **{f"{parent}_id": "z"})
        at = records.index(record(parent, **{f"{parent}_id": "z"}))
        records.insert(at + 1, record(kind, **{f"{parent}_id": "z"}))
        assert not defects(records, unique=True)
