"""Find the first difference between two captured results, in order as far as the old one has one.

The old call ran twice on the same data, which the database read in two orders. Where its items
changed their places, they tie, and the new result may have them in any order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from querygrowth.rewrites.results import (
    NOT_LOADED,
    Captured,
    Fields,
    Identity,
    Items,
    Leaf,
    Node,
    Reference,
    shown,
    text_of,
)

REPEATED = "repeated"
MISSING = "missing"
ADDED = "added"
ORDER = "order"
TYPE = "type"
VALUE = "value"
LOADED = "not loaded"
RAISED = "raised"
CONTENT = "content"


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        kind: One of the constants of this module.
        path: Where in the result it is, such as `result[0].total`.
        old: What the old call gave there.
        new: What the new call gave there.
    """

    kind: str
    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} before, {self.new} after"


@dataclass
class KnownOrders:
    """What all databases together show about the order of lists, by their places.

    A list that is the same backwards does not show whether it was read backwards. Other databases
    show whether the lists at its place are in any order at all.

    Args:
        open: Places at which a whole list came in another order.
        fixed: Places at which some of a list stayed where it was.
    """

    open: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)

    def is_free(self, path: str) -> bool:
        """Whether lists at this place have no order in any database."""
        return _general(path) in self.open - self.fixed

    def is_fixed(self, path: str) -> bool:
        """Whether some database has shown that lists at this place have an order."""
        return _general(path) in self.fixed

    def learn(self, path: str, keys: Sequence[str], again: Sequence[str]) -> None:
        """Take into account a list, and the same list as it was read the other way round."""
        backwards = [*reversed(keys)]
        if [*keys] != backwards:
            (self.open if [*again] == backwards else self.fixed).add(_general(path))


@dataclass
class Comparison:
    """Compares new results with an old one that was captured under two orders of reading.

    Args:
        old: The result of the old call.
        again: Its result where the database reads in the opposite order.
        ignore_order: Whether lists are compared without their order.
        unordered: Filled with the paths at which the old result has no total order.
        known: What was learnt on all databases; it is added to.
    """

    old: Captured
    again: Captured
    ignore_order: bool = False
    unordered: set[str] = field(default_factory=set)
    known: KnownOrders = field(default_factory=KnownOrders)

    @property
    def determined(self) -> bool:
        """Whether the old result is the same under both orders, apart from its order."""
        return _loose(self.old) == _loose(self.again)

    def difference(self, new: Captured) -> Difference | None:
        """The first difference between the old result and a new one; None if they are the same."""
        if self.old.raised or new.raised:
            if (self.old.raised, self.old.root) == (new.raised, new.root):
                return None
            return Difference(RAISED, "the call", outcome_of(self.old), outcome_of(new))
        found = self._node("result", self.old.root, self.again.root, new.root)
        if found is not None:
            return found
        for identity, fields in self.old.objects.items():
            path = f"<{identity[0].rpartition('.')[2]} {identity[1]}>"
            again = self.again.objects.get(identity, fields)
            other = new.objects.get(identity)
            if other is None:
                continue  # reached through a relationship that differs, which is found elsewhere
            found = self._fields(path, fields, again, other)
            if found is not None:
                return found
        return None

    def _node(self, path: str, old: Node, again: Node, new: Node) -> Difference | None:
        if type(old) is not type(new):
            kind = LOADED if new == NOT_LOADED else TYPE if _is_type(old, new) else VALUE
            return Difference(kind, path, _typed(old), _typed(new))
        if isinstance(old, Items) and isinstance(new, Items):
            same = again if isinstance(again, Items) else old
            return self._items(path, old, same, new)
        if isinstance(old, Fields) and isinstance(new, Fields):
            same_fields = again if isinstance(again, Fields) else old
            return self._fields(path, old, same_fields, new)
        if old == new:
            return None
        if isinstance(old, Leaf) and isinstance(new, Leaf) and old.kind != new.kind:
            kind = LOADED if new == NOT_LOADED else TYPE if _is_type(old, new) else VALUE
            return Difference(kind, path, _typed(old), _typed(new))
        return Difference(VALUE, path, shown(old), shown(new))

    def _fields(self, path: str, old: Fields, again: Fields, new: Fields) -> Difference | None:
        if old.kind != new.kind:
            return Difference(TYPE, path, old.kind, new.kind)
        for name, entry in old.entries.items():
            if entry == NOT_LOADED:
                continue  # nobody could read it before
            inner = f"{path}[{name}]" if old.kind == "dict" else f"{path}.{name.lstrip('.')}"
            if name not in new.entries:
                return Difference(MISSING, inner, shown(entry), "missing")
            same = again.entries.get(name, entry)
            found = self._node(inner, entry, same, new.entries[name])
            if found is not None:
                return found
        # An ORM object may have loaded more than the old one had.
        for name, entry in new.entries.items():
            if name not in old.entries and not name.startswith("."):
                inner = f"{path}[{name}]" if old.kind == "dict" else f"{path}.{name}"
                return Difference(ADDED, inner, "missing", shown(entry))
        return None

    def _items(self, path: str, old: Items, again: Items, new: Items) -> Difference | None:
        if old.kind != new.kind:
            return Difference(TYPE, path, f"a {old.kind}", f"a {new.kind}")
        if old.kind == "tuple" and len(old.items) == len(new.items) == len(again.items):
            triples = zip(old.items, again.items, new.items, strict=True)
            for place, (one, same, other) in enumerate(triples):
                found = self._node(f"{path}[{place}]", one, same, other)
                if found is not None:
                    return found
            return None
        before, after = _keys(old), _keys(new)
        if Counter(before) != Counter(after):
            return self._other_items(path, old, again, new)
        blocks = self._blocks(path, old, again)
        for start, end in blocks:
            if Counter(before[start:end]) != Counter(after[start:end]):
                return Difference(ORDER, path, shown(old), shown(new))
        for start, end in blocks:
            part, others = old.items[start:end], new.items[start:end]
            twins = dict(_paired(part, again.items[start:end])) if _fits(old, again) else {}
            for place, match in _paired(part, others):
                twin = twins.get(place, part[place])
                inner = f"{path}[{start + place}]"
                found = self._node(inner, part[place], twin, match)
                if found is not None:
                    return found
        return None

    def _blocks(self, path: str, old: Items, again: Items) -> list[tuple[int, int]]:
        """The ranges inside of which items tie, so that their order is open."""
        whole = [(0, len(old.items))] if old.items else []
        if self.ignore_order or not old.ordered:
            return whole
        if not _fits(old, again):
            return [(place, place + 1) for place in range(len(old.items))]
        before, reversed_ = _keys(old), _keys(again)
        blocks: list[tuple[int, int]] = []
        start = 0
        balance: Counter[str] = Counter()
        for place, (one, other) in enumerate(zip(before, reversed_, strict=True)):
            balance[one] += 1
            balance[other] -= 1
            if not any(balance.values()):
                blocks.append((start, place + 1))
                start = place + 1
        self.known.learn(path, before, reversed_)
        if self.known.is_free(path):
            return whole
        if any(end - begin > 1 for begin, end in blocks):
            self.unordered.add(_general(path))
        return blocks

    def _other_items(self, path: str, old: Items, again: Items, new: Items) -> Difference:
        """How the items differ where they are not the same ones."""
        before, after = Counter(_keys(old)), Counter(_keys(new))
        more, less = after - before, before - after
        texts = {text_of(item, loose=True): item for item in (*old.items, *new.items)}
        if less and more and len(old.items) == len(new.items):
            place = _keys(old).index(next(iter(less)))
            match = next(item for item in new.items if text_of(item, loose=True) in more)
            if sum(less.values()) > 1 and _keys(old) == _keys(again):
                match = new.items[place]  # the order is known, so the same place is meant
            elif sum(less.values()) > 1:
                return Difference(VALUE, path, shown(old), shown(new))
            inner = f"{path}[{place}]"
            closer = self._node(inner, old.items[place], old.items[place], match)
            return closer or Difference(VALUE, path, shown(old), shown(new))
        if more and not less:
            kind = REPEATED if all(key in before for key in more) else ADDED
            return Difference(kind, path, _counted(old), f"{_counted(new)}: {_list(more, texts)}")
        if less and not more:
            gone = f"{_counted(new)}, without {_list(less, texts)}"
            return Difference(MISSING, path, _counted(old), gone)
        return Difference(VALUE, path, shown(old), shown(new))


def _list(keys: Counter[str], nodes: dict[str, Node]) -> str:
    found = [shown(nodes[key]) + (f" {n} times" if n > 1 else "") for key, n in keys.items()]
    rest = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + rest


def _counted(items: Items) -> str:
    count = len(items.items)
    return f"{count} item" if count == 1 else f"{count} items"


def _keys(items: Items) -> list[str]:
    return [text_of(item, loose=True) for item in items.items]


def _fits(old: Items, again: Items) -> bool:
    return Counter(_keys(old)) == Counter(_keys(again))


def _general(path: str) -> str:
    """A path without its numbers: result[3].items is result[*].items."""
    parts = path.split("[")
    return "[".join(
        "*" + part[part.index("]") :] if part[: part.find("]")].isdigit() else part
        for part in parts
    )


def _paired(one: Sequence[Node], other: Sequence[Node]) -> Iterator[tuple[int, Node]]:
    """Every place in `one`, with the item of `other` that is equal, or equal but for order."""
    exact: defaultdict[str, list[Node]] = defaultdict(list)
    for node in other:
        exact[text_of(node)].append(node)
    open_places = []
    for place, node in enumerate(one):
        found = exact[text_of(node)]
        if found:
            yield place, found.pop(0)
        else:
            open_places.append(place)
    loose: defaultdict[str, list[Node]] = defaultdict(list)
    for left in exact.values():
        for node in left:
            loose[text_of(node, loose=True)].append(node)
    for place in open_places:
        found = loose[text_of(one[place], loose=True)]
        if found:
            yield place, found.pop(0)


def _loose(captured: Captured) -> tuple[str, dict[Identity, str]]:
    return text_of(captured.root, loose=True), {
        identity: text_of(fields, loose=True) for identity, fields in captured.objects.items()
    }


def outcome_of(captured: Captured) -> str:
    """What a call returned or raised, in words."""
    if isinstance(captured.root, Leaf) and captured.raised:
        return f"{captured.root.kind}: {captured.root.text}"
    return f"returned {shown(captured.root)}"


def _is_type(old: Node, new: Node) -> bool:
    """Whether two values differ in their type, and neither is None."""
    return not any(isinstance(node, Leaf) and node.kind == "NoneType" for node in (old, new))


def _typed(node: Node) -> str:
    if node == NOT_LOADED or isinstance(node, Reference):
        return shown(node)
    kind = node.kind.rpartition(".")[2]
    return "None" if kind == "NoneType" else f"{shown(node)} ({kind})"
