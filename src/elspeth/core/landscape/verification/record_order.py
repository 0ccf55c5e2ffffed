"""Primary keys that have to be unique across a whole export, kept in a temporary file."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record, RecordType
from elspeth.core.landscape.verification.defects import Problem, Reason, shown

# The order of an export: which record stands inside which, and what follows what.
#
# The run; its nodes; its edges; its rows, each followed by its tokens, each of those by its
# parents and its node states, each state by its routing events and its calls; its batches, each
# followed by its members; its artifacts.


KEYS_REMEMBERED = 16_384
"""Keys of one parent's children that are remembered, so that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where records of one type stand: inside which, and in what order among themselves."""

    record_type: RecordType
    parent: RecordType | None
    order: tuple[str, ...] = ()
    """The fields that ascend among the children of one parent. Empty where the order follows
    from what is not exported: tokens, edges and artifacts stand in order of creation."""
    may_tie: bool = False
    """Equal values may follow each other, and null comes last."""

    @property
    def key_field(self) -> str:
        """The field that tells the children of one parent apart."""
        return self.record_type.primary_key[-1]

    @property
    def parent_field(self) -> str:
        """The field that names the parent; the run is named by every record."""
        return "run_id" if self.parent is None else self.parent.primary_key[-1]


PLACES = (
    Place(records.RUN, None),
    # Nodes of one sequence number stand in order of registration, which is not exported.
    Place(records.NODE, records.RUN, ("sequence_in_pipeline",), may_tie=True),
    Place(records.EDGE, records.RUN),
    Place(records.ROW, records.RUN, ("row_index",)),
    Place(records.TOKEN, records.ROW),
    Place(records.TOKEN_PARENT, records.TOKEN, ("ordinal",)),
    Place(records.NODE_STATE, records.TOKEN, ("step_index", "attempt")),
    Place(records.ROUTING_EVENT, records.NODE_STATE, ("ordinal", "event_id")),
    Place(records.CALL, records.NODE_STATE, ("call_index",)),
    Place(records.BATCH, records.RUN, ("created_at", "batch_id")),
    Place(records.BATCH_MEMBER, records.BATCH, ("ordinal",)),
    Place(records.ARTIFACT, records.RUN),
)
"""Every place, in the order in which the types that share a parent take their turns."""


def places_inside(parent: RecordType | None) -> tuple[Place, ...]:
    """Return the places directly inside a record type, in turn; None holds the run."""
    return tuple(place for place in PLACES if place.parent is parent)


class Grammar:
    """Places one record after the other, and finds what stands where it should not.

    With `remembers_keys` it also finds two children of one parent that share a primary key,
    among the first 16,384 of each parent and type.
    """

    def __init__(self, *, remembers_keys: bool = True) -> None:
        rules = [_Rule(rank, place) for rank, place in enumerate(PLACES)]
        self._rules = {rule.kind: rule for rule in rules}
        self._open = [_Open("export", None)]
        self._remembers_keys = remembers_keys

    def place(self, kind: str, record: Record) -> Problem | None:
        """Take the next record, whose fields are known to be sound; say what is wrong, if any.

        What is wrongly placed counts as rightly placed for what follows it, so that one mistake
        is reported once.
        """
        rule = self._rules[kind]
        depth = rule.depth
        stack = self._open
        problem = None
        # That every record is of one run is judged elsewhere.
        if (
            len(stack) <= depth
            or stack[depth].kind != rule.parent_kind
            or (depth > 1 and stack[depth].key != record[rule.parent_field])
        ):
            problem = self._open_parent(rule, record[rule.parent_field])
        turn = self._take_turn(rule, stack[depth], record)
        del stack[depth + 1 :]
        if rule.is_parent:
            stack.append(_Open(kind, record[rule.key_field]))
        return problem or turn

    def _open_parent(self, rule: "_Rule", parent_id: object) -> Problem:
        """Open the parent that a record names where it does not stand inside it."""
        stack, depth = self._open, rule.depth
        for at, kind in enumerate(rule.path):
            if len(stack) <= at or stack[at].kind != kind:
                stack[at:] = [_Open(kind, None)]
        stack[depth:] = [_Open(rule.parent_kind, parent_id)]
        where = "the run" if depth == 1 else f"its {rule.parent_kind} {shown(parent_id)}"
        return Problem(Reason.ORDER, f"a {rule.kind} that does not stand inside {where}")

    def _take_turn(self, rule: "_Rule", parent: "_Open", record: Record) -> Problem | None:
        """Check a record against the earlier children of its parent."""
        if rule.rank != parent.rank:
            if rule.rank < parent.rank:
                return Problem(Reason.ORDER, f"a {rule.kind} after a {parent.latest_kind}")
            parent.begin(rule)
        elif rule.depth == 0:
            return Problem(Reason.ORDER, "a second run")
        if self._remembers_keys:
            key = record[rule.key_field]
            if key in parent.keys:
                return Problem(Reason.DUPLICATE, f"a second {rule.kind} {shown(key)}")
            if len(parent.keys) < KEYS_REMEMBERED:
                parent.keys.add(key)
        if rule.order is None:
            return None
        previous, parent.latest = parent.latest, rule.order(record)
        if previous is None or previous < parent.latest:
            return None
        if rule.may_tie and previous == parent.latest:
            return None
        return Problem(Reason.ORDER, f"a {rule.kind} out of order, which is by {rule.ordered_by}")


class _Rule:
    """A place, with what checking a record against it needs at hand."""

    def __init__(self, rank: int, place: Place) -> None:
        self.kind = place.record_type.name
        self.rank = rank
        self.path = _path(place)
        self.depth = len(self.path) - 1
        self.parent_kind = self.path[-1]
        self.is_parent = bool(places_inside(place.record_type))
        self.parent_field = place.parent_field
        self.key_field = place.key_field
        self.may_tie = place.may_tie
        self.ordered_by = ", ".join(place.order)
        self.order = _order(place)


class _Open:
    """A record whose children may follow: which of them came last."""

    __slots__ = ("key", "keys", "kind", "latest", "latest_kind", "rank")

    def __init__(self, kind: str, key: object) -> None:
        self.kind = kind
        self.key = key
        self.rank = -1
        self.latest_kind = ""
        self.latest: Any = None
        self.keys: set[object] = set()

    def begin(self, rule: _Rule) -> None:
        """Go on to the next type of children."""
        self.rank = rule.rank
        self.latest_kind = rule.kind
        self.latest = None
        self.keys = set()


def _path(place: Place) -> tuple[str, ...]:
    """The types that a record stands inside, outermost first."""
    if place.parent is None:
        return ("export",)
    outer = next(each for each in PLACES if each.record_type is place.parent)
    return (*_path(outer), place.parent.name)


def _order(place: Place) -> Callable[[Record], Any] | None:
    if not place.order:
        return None
    if not place.may_tie:
        return itemgetter(*place.order)
    (field,) = place.order
    return lambda record: (record[field] is None, record[field] or 0)


class KeysSeen:
    """The primary keys of the records so far, on disk: memory does not grow with their number.

    SQLite keeps a database without a name in a temporary file that it removes from the directory
    at once, so that nothing is left behind whatever happens to the process.
    """

    def __init__(self) -> None:
        self._columns = {kind.name: kind.primary_key for kind in RECORD_TYPES}
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

    def add(self, kind: str, record: Record) -> bool:
        """Take in a record's primary key, and say whether it is new.

        Raises OSError when the temporary file cannot grow.
        """
        first, second = (*(record[name] for name in self._columns[kind]), "")[:2]
        try:
            inserted = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (kind, first, second)
            )
        except sqlite3.Error as error:
            raise OSError(f"The temporary file of primary keys: {error}") from error
        return inserted.rowcount == 1
