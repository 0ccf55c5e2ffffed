"""The order and uniqueness of records: parents, the sorting of siblings, and repeated keys.

An export holds the run; its nodes; its edges; its rows, a row followed by its tokens, a token by
its parents and its node states, a state by its routing events and its calls; then the batches, a
batch followed by its members; then the artifacts. `ORDER_RULES` states that order for the verifier.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

from elspeth.core.landscape.verification.defects import Defect, Reason, Record, short_repr
from elspeth.core.landscape.verification.record_shapes import SHAPES

# Keeps memory flat when a run has millions of rows. `UniqueKeys` has no such limit.
KEYS_REMEMBERED = 16_384
"""The number of keys of one parent's children that are compared."""


@dataclass(frozen=True, slots=True)
class OrderRule:
    """The place of the records of one type: their parent, and their order inside it."""

    record_type: str
    parent: str | None
    ascending: tuple[str, ...] = ()
    """The fields by which the children of one parent ascend. Empty where the order depends on
    creation times that are not exported: edges, tokens and artifacts."""
    allows_ties: bool = False
    """Whether equal values may follow one another, with null last."""

    @property
    def key_field(self) -> str:
        """The field that identifies a record among the children of one parent."""
        return SHAPES[self.record_type].primary_key[-1]

    @property
    def parent_field(self) -> str:
        """The field that names the parent; every record names the run."""
        return "run_id" if self.parent is None else SHAPES[self.parent].primary_key[-1]


ORDER_RULES = (
    OrderRule("run", None),
    # Nodes with equal sequence numbers stand in order of registration, which is not exported.
    OrderRule("node", "run", ("sequence_in_pipeline",), allows_ties=True),
    OrderRule("edge", "run"),
    OrderRule("row", "run", ("row_index",)),
    OrderRule("token", "row"),
    OrderRule("token_parent", "token", ("ordinal",)),
    OrderRule("node_state", "token", ("step_index", "attempt")),
    OrderRule("routing_event", "node_state", ("ordinal", "event_id")),
    OrderRule("call", "node_state", ("call_index",)),
    OrderRule("batch", "run", ("created_at", "batch_id")),
    OrderRule("batch_member", "batch", ("ordinal",)),
    OrderRule("artifact", "run"),
)
"""The rule of every record type, in the order in which types that share a parent follow."""


def rules_inside(parent: str | None) -> tuple[OrderRule, ...]:
    """Return the rules of the types directly inside a parent type, in order; None: the export."""
    return tuple(rule for rule in ORDER_RULES if rule.parent == parent)


@dataclass(frozen=True, slots=True)
class Place:
    """What the place of a record inside its parent is judged by."""

    record_type: str
    key: object
    sort_key: Any


class RecordOrder:
    """Checks the place of every record, given the records before it."""

    def __init__(self, *, finds_duplicates: bool = True, of_original: bool = False) -> None:
        """Start before the first record.

        Args:
            finds_duplicates: compare the keys of the children of one parent, the first 16,384 of a
                type. Not needed beside `UniqueKeys`.
            of_original: judge by the weaker order of the original exporter.
        """
        self._rules = _CHECKED_ORIGINAL_RULES if of_original else _CHECKED_RULES
        self._finds_duplicates = finds_duplicates
        # The open parents, outermost first, up to the index `_last`: export, run, row, token and
        # node state, or fewer. An entry is used again for every parent at its depth.
        self._open = [_OpenParent() for _ in range(_LARGEST_DEPTH + 1)]
        self._open[0].open("export", None)
        self._last = 0

    def check(self, record_type: str, record: Record) -> Defect | None:
        """Check the next record, whose fields are valid; return its defect."""
        rule = self._rules[record_type]
        sort_key = None if rule.sort_key is None else rule.sort_key(record)
        return self.place(record_type, record[rule.key_field], record[rule.parent_field], sort_key)

    def place(
        self, record_type: str, key: object, parent_id: object, sort_key: Any
    ) -> Defect | None:
        """Check the next record by what its rule names; return its defect.

        Args:
            record_type: its type.
            key: the value that identifies it among the children of its parent.
            parent_id: the value that names its parent.
            sort_key: what it ascends by; None if its type has no such fields.
        """
        # Hot path, once per record: the checks are written out here, without calls.
        rule = self._rules[record_type]
        depth = rule.depth
        stack = self._open
        parent = stack[depth]
        misplaced = None
        # Depth 1 is inside the run; `Verifier` checks that all records name the same run.
        if (
            self._last < depth
            or parent.record_type != rule.parent
            or (depth > 1 and parent.key != parent_id)
        ):
            # What follows is judged as if this record stood in its place, so that one mistake gives
            # one defect and not one for every record after it.
            misplaced = self._open_missing_parent(rule, parent_id)
        # A new sibling closes what was open inside the previous one.
        self._last = depth
        if rule.is_parent:
            self._last = depth + 1
            inside = stack[depth + 1]
            inside.record_type, inside.key, inside.rank = record_type, key, -1
        # The order of the checks decides which defect is reported: type, key, then sorting.
        if rule.rank != parent.rank:
            if rule.rank < parent.rank:
                latest = ORDER_RULES[parent.rank].record_type
                return misplaced or Defect(Reason.ORDER, f"a {record_type} after a {latest}")
            # The first child of its type, which is compared with none.
            parent.rank, parent.latest, parent.keys = rule.rank, sort_key, {key}
            return misplaced
        if depth == 0:
            return misplaced or Defect(Reason.ORDER, "a second run")
        if self._finds_duplicates:
            keys = parent.keys
            if key in keys:
                return misplaced or Defect(
                    Reason.DUPLICATE, f"a second {record_type} {short_repr(key)}"
                )
            if len(keys) < KEYS_REMEMBERED:
                keys.add(key)
        if rule.sort_key is None:
            return misplaced
        previous, parent.latest = parent.latest, sort_key
        if (
            previous is None
            or previous < parent.latest
            or (rule.allows_ties and previous == parent.latest)
        ):
            return misplaced
        fields = ", ".join(rule.ascending)
        return misplaced or Defect(
            Reason.ORDER, f"a {record_type} out of order, which is by {fields}"
        )

    def _open_missing_parent(self, rule: "_CheckedRule", parent_id: object) -> Defect:
        """Open the parent that a record names but does not follow, and the parents above it."""
        depth = rule.depth
        for at, parent_type in enumerate(rule.path):
            if self._last < at or self._open[at].record_type != parent_type:
                self._open[at].open(parent_type, None)
                self._last = at
        self._open[depth].open(rule.parent, parent_id)
        self._last = depth
        where = "the run" if depth == 1 else f"its {rule.parent} {short_repr(parent_id)}"
        return Defect(Reason.ORDER, f"a {rule.record_type} that does not stand inside {where}")


class OrderInsideRun(RecordOrder):
    """Checks the place of records in a part of an export that begins directly inside the run.

    Every record but those directly inside the run has its parent in the part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outer: list[Place] = []
        """The places of the records directly inside the run, to be checked among all of them."""
        self._open[1].open("run", None)
        self._last = 1

    def place(
        self, record_type: str, key: object, parent_id: object, sort_key: Any
    ) -> Defect | None:
        """Check the next record, as `RecordOrder.place` does."""
        if self._rules[record_type].depth == 1:
            self.outer.append(Place(record_type, key, sort_key))
        return super().place(record_type, key, parent_id, sort_key)


class _CheckedRule:
    """An order rule, with the values that checking a record needs computed once."""

    def __init__(self, rank: int, rule: OrderRule) -> None:
        self.record_type = rule.record_type
        self.rank = rank
        self.path = _path(rule)
        self.depth = len(self.path) - 1
        self.parent = self.path[-1]
        self.is_parent = bool(rules_inside(rule.record_type))
        self.parent_field = rule.parent_field
        self.key_field = rule.key_field
        self.allows_ties = rule.allows_ties
        self.ascending = rule.ascending
        self.sort_key = _sort_key(rule)


class _OpenParent:
    """A record whose children may follow, with the type, sort key and keys of its children."""

    __slots__ = ("key", "keys", "latest", "rank", "record_type")

    def __init__(self) -> None:
        self.latest: Any = None
        self.keys: set[object] = set()
        self.open("", None)

    def open(self, record_type: str, key: object) -> None:
        """Begin a parent; its first child begins the first type."""
        self.record_type = record_type
        self.key = key
        self.rank = -1


def _path(rule: OrderRule) -> tuple[str, ...]:
    """Return the types of the parents of a record, outermost first."""
    if rule.parent is None:
        return ("export",)
    outer = next(other for other in ORDER_RULES if other.record_type == rule.parent)
    return (*_path(outer), rule.parent)


def _sort_key(rule: OrderRule) -> Callable[[Record], Any] | None:
    if not rule.ascending:
        return None
    if not rule.allows_ties:
        return itemgetter(*rule.ascending)
    (field,) = rule.ascending
    # None compares with no integer, so the pair sorts it last.
    return lambda record: (record[field] is None, record[field] or 0)


def _checked(rules: Iterable[OrderRule]) -> dict[str, _CheckedRule]:
    return {rule.record_type: _CheckedRule(rank, rule) for rank, rule in enumerate(rules)}


# The original sorts states by their step alone, so that attempts may stand in any order. It writes
# times with the offset of the session, and such texts do not sort like the times of batches.
_WEAKER: Mapping[str, Mapping[str, Any]] = {
    "node_state": {"ascending": ("step_index",), "allows_ties": True},
    "batch": {"ascending": ()},
}
_CHECKED_RULES = _checked(ORDER_RULES)
_LARGEST_DEPTH = max(rule.depth + rule.is_parent for rule in _CHECKED_RULES.values())
_CHECKED_ORIGINAL_RULES = _checked(
    replace(rule, **_WEAKER.get(rule.record_type, {})) for rule in ORDER_RULES
)


class UniqueKeys:
    """Finds repeated primary keys across a whole export, by a temporary SQLite database on disk."""

    def __init__(self) -> None:
        # SQLite keeps a database without a name in a temporary file and unlinks the file at once,
        # so nothing is left even after SIGKILL. The file needs no durability, hence no journal.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
            "CREATE TABLE seen (kind TEXT, first TEXT, second TEXT,"
            " PRIMARY KEY (kind, first, second)) WITHOUT ROWID; BEGIN"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, record_type: str, record: Record) -> bool:
        """Add the primary key of a record.

        Returns:
            Whether the key is new.

        Raises:
            OSError: the temporary file cannot grow.
        """
        # Padded to two columns: primary keys have one or two.
        key = (*(record[name] for name in SHAPES[record_type].primary_key), "")
        try:
            inserted = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (record_type, *key[:2])
            )
        except sqlite3.Error as error:
            raise OSError(f"The temporary file of primary keys: {error}") from error
        return inserted.rowcount == 1
