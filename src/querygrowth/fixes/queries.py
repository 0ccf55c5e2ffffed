"""Word the repair of queries that are sent in a loop, with the code to write.

`fix_of` words it for the queries of one shape: the loader option of a lazy load, `IN` in place of a
lookup in a loop, the bulk form of a write. `querygrowth.growth.verdicts` shows it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from querygrowth.counting.activity import ShapeActivity
from querygrowth.counting.causes import Parents
from querygrowth.counting.statements import NO_TABLE
from querygrowth.fixes.commands import command_fix, function_fix, insert_code
from querygrowth.places.call_sites import CallSite, callers_line
from querygrowth.places.orm_loads import Load, Reason

_SHOWN_CHARACTERS = 160
_SHOWN_ORIGINS = 3
# The part of the largest rise from which that of another line is shown.
_SHOWN_PART = 0.1
# `column = ?` and `? = column`, as users and SQLAlchemy's relationships compare with a value. Some
# drivers are sent the type of the value too.
_VALUE = r"(?:\?|CAST\(\? AS [\w ,()]+?\))"
_KEYS = re.compile(rf"""([\w."`\[\]]+) = {_VALUE}|{_VALUE} = ([\w."`\[\]]+)""")
_AGGREGATE = re.compile(r"^SELECT (?:COUNT|SUM|MIN|MAX|AVG)\(", re.IGNORECASE)
# Functions of a session that write pending changes first, and are meant to do something else.
_WRITERS = frozenset({"flush", "commit", "begin_nested", "prepare", "__exit__", "__aexit__"})

_READ_ATTRIBUTE = "__get__"
_BLOCK_ENDS = frozenset({"__exit__", "__aexit__"})
_BULK_METHODS = frozenset({"bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"})
_ALIAS = "alias"  # the name in the advice for the user's alias of a class
_GETTERS = frozenset({"get", "get_one"})


@dataclass(frozen=True)
class Fix:
    """Evidence for the cause of growing queries, and what to write instead.

    Attributes:
        evidence: What was loaded, where its parents were loaded, and the callers; may be empty.
        next_step: What to write.
    """

    evidence: tuple[str, ...]
    next_step: str


def fix_of(sent: ShapeActivity, *, item: str) -> Fix:
    """Word the repair of queries that are sent once per item.

    Args:
        sent: The queries of the shape that grows, at the largest scale.
        item: What they are sent for in words, such as "item of orders".
    """
    load = sent.cause.load
    return Fix(
        tuple(_evidence(sent)),
        _write(sent, item)
        if sent.shape.tables_written
        else _relationship(sent, load)
        if load is not None and load.relationship
        else _columns(sent, load)
        if load is not None and load.needs
        else _lookup(sent, item),
    )


def shortened(text: str) -> str:
    """Shorten a long statement to `_SHOWN_CHARACTERS`."""
    if len(text) > _SHOWN_CHARACTERS:
        # The tables and conditions identify a statement. The list of its columns is long and does
        # not, so that it is left out first.
        text = re.sub(r"SELECT .*? FROM ", "SELECT ... FROM ", text, count=1)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _evidence(sent: ShapeActivity) -> Iterator[str]:
    cause = sent.cause
    load, parents = cause.load, cause.parents
    if load is not None and load.relationship:
        yield f"relationship: {load.relationship}"
    elif load is not None and (names := _dynamic(sent, load)):
        yield f"relationship: {' or '.join(names)}"
    elif load is not None and load.needs:
        whole = load.reason == Reason.EXPIRED or not load.attributes
        yield f"attributes: {f'all of {load.owner}' if whole else ', '.join(_attributes(load))}"
    if parents is not None and parents.site is not None and load is not None:
        yield f"{load.owner} loaded at: {parents.site}"
    if len(cause.chain) > 1:
        yield callers_line(cause.chain)
    yield from _further_origins(sent)


def _further_origins(sent: ShapeActivity) -> Iterator[str]:
    """Yield the other lines, and relationships, whose queries of this shape rise too."""
    sums: Counter[tuple[CallSite | None, str]] = Counter()
    for each in sent.origins:
        load = each.cause.load
        sums[each.cause.site, load.relationship if load is not None else ""] += each.queries
    cause = sent.cause
    shown = (
        cause.chain[0] if cause.chain else cause.site,
        cause.load.relationship if cause.load is not None else "",
    )
    least = _SHOWN_PART * max(sums.values(), default=0)
    others = [key for key, count in sums.most_common() if key != shown and count >= max(2, least)]
    for site, relationship in others[:_SHOWN_ORIGINS]:
        yield f"also{f' for {relationship}' if relationship else ''}{_at(site)}"


def _attributes(load: Load) -> Sequence[str]:
    return [f"{load.owner}.{name}" for name in load.attributes]


def _relationship(sent: ShapeActivity, load: Load) -> str:
    cause = sent.cause
    if cause.entry in {"delete", "delete_all"} or cause.entry in _WRITERS:
        return (
            f"{cause.entry}(), which loads {load.relationship} of every deleted {load.owner}: let "
            "the database do it (passive_deletes=True on the relationship and ondelete on the "
            f"foreign key), or delete in one statement: delete({load.owner}).where("
            f"{load.owner}.id.in_(ids))"
        )
    if cause.entry == "merge":
        return _of_merge(load.target)
    if load.reason == Reason.EAGER:
        return f"the query that loads {load.relationship}{_at(cause.site)}, which is sent in a loop"
    options, site = _option_path(load, cause.parents, load.option)
    if load.reason == Reason.REFRESHED:
        return (
            f"refresh() of {load.relationship} for every {load.owner}: let the query{_at(site)} "
            f"load it with .options({options}), or load all again in one query: session.scalars("
            f"select({load.owner}).options({load.option}).execution_options(populate_existing=True)"
            ").all()"
        )
    return (
        f"{load.relationship}, which is loaded for every {load.owner}: add .options({options}) to "
        f"the query{_at(site)}{_alias(cause.parents, options)}"
    )


def _option_path(load: Load, parents: Parents | None, option: str) -> tuple[str, CallSite | None]:
    """The loader options from the user's query to that of a load, and the line of that query."""
    while parents is not None and parents.load is not None:
        loaded = parents.load
        if not loaded.relationship:
            # An eager join has loaded the parents. defaultload() leaves its way of loading.
            known = (names for rows, names in loaded.joined if rows == load.needs)
            joined = () if loaded.rows == load.needs else load.via or next(known, ())
            for name in reversed(joined):
                option = f"defaultload({name}).{option}"
            if loaded.alias:
                option = _through_alias(option, loaded)
            break
        if parents.parents is None:
            break
        option = f"{loaded.option}.{option}"
        load, parents = loaded, parents.parents
    return option, parents.site if parents else None


def _through_alias(option: str, query: Load) -> str:
    """A loader option as the entity of a query takes it, where that is an alias of a class."""
    # Only the first class of a path is that of the query. A subclass is an attribute of the alias.
    head, bracket, rest = option.partition("(")
    owner, dot, attribute = rest.partition(".")
    if not dot or not owner.isidentifier():
        return option
    within = "" if owner == query.owner else f"{owner}."
    return f"{head}{bracket}{_ALIAS}.{within}{attribute}"


def _alias(parents: Parents | None, options: str) -> str:
    """What the alias in loader options is, in words; empty if there is none."""
    while parents is not None and parents.parents is not None:
        parents = parents.parents
    made = parents.load.alias if parents is not None and parents.load is not None else ""
    return f", where {_ALIAS} is its {made}" if made and f"({_ALIAS}." in options else ""


def _columns(sent: ShapeActivity, load: Load) -> str:
    cause = sent.cause
    owner, names = load.owner, ", ".join(_attributes(load))
    again = (
        f"session.scalars(select({owner}).where({_in(load, sent)})"
        ".execution_options(populate_existing=True)).all()"
    )
    if load.reason == Reason.SUBCLASS:
        chained, site = _option_path(load, cause.parents, f"selectin_polymorphic([{owner}])")
        # The function takes the base class, which the method of another option knows.
        options = (
            chained.replace("(", f"({load.base}, ", 1) if chained[:9] == "selectin_" else chained
        )
        return (
            f"{names}, which a query of {load.base} does not load: add .options({options}) to the "
            f"query{_at(site)}"
        )
    if load.reason == Reason.DEFERRED:
        undeferred = [f"undefer({name})" for name in _attributes(load)]
        options, site = _option_path(load, cause.parents, ".".join(undeferred))
        if options.startswith("undefer"):
            paths = [_option_path(load, cause.parents, each)[0] for each in undeferred]
            options = ", ".join(paths)
        return (
            f"{names}, which is deferred and loaded for every {owner}: add .options({options}) to "
            f"the query{_at(site)}{_alias(cause.parents, options)}"
        )
    if load.reason == Reason.REFRESHED:
        return f"refresh() of every {owner}: load them again in one query: {again}"
    if load.reason == Reason.EXPIRED:
        return (
            f"{owner} objects that have expired, by commit(), rollback() or expire(), and are "
            "loaded one by one: use Session(expire_on_commit=False) if it was commit(), or load "
            f"them again in one query: {again}"
        )
    return (
        f"{names}, which expired after a flush since the database computes them, or by expire(): "
        f'set __mapper_args__ = {{"eager_defaults": True}} on {owner}, or load them again in one '
        f"query: {again}"
    )


def _lookup(sent: ShapeActivity, item: str) -> str:
    load, table = sent.cause.load, sent.shape.table
    if load is not None and sent.cause.entry == "merge":
        return _of_merge(load.owner)
    if table == NO_TABLE:
        text = sent.shape.text
        known = command_fix(text, item=item) or function_fix(text, item=item)
        return known or f"a loop that sends the same statement once per {item}: send it once"
    keys = _keys(sent.shape.text)
    columns = [_bare(key) if _is_of(table, key) else key for key in keys]
    if load is not None and (names := _dynamic(sent, load)):
        return (
            f"{' or '.join(names)}, a dynamic or write-only relationship that is queried once per "
            f"{item}: query {load.owner} once with {load.owner}.{columns[0]}.in_(...), or map it "
            f"without lazy= and add .options(selectinload({names[0]})){_grouped(sent)}"
        )
    if not keys and "?" not in sent.shape.text.partition(" FROM ")[2]:
        return (
            f"a loop that sends the same query about {table} once per {item}: send it once before "
            "the loop"
        )
    if not keys:
        return (
            f"a loop that queries {table} once per {item}: fetch them in one query (a join, or an "
            "IN list)"
        )
    where = " AND ".join(f"{column} = ?" for column in columns)
    changes = columns[0] if len(columns) == 1 else f"the column that changes ({', '.join(columns)})"
    return (
        f"a loop that queries {table} once per {item} with WHERE {where}: fetch them in one query "
        f"with IN for {changes}{_as_code(sent, columns)}{_grouped(sent)}"
    )


def _dynamic(sent: ShapeActivity, load: Load) -> list[str]:
    """The dynamic and write-only relationships one of which sent a query; mostly one, or none."""
    # Such a relationship leaves one trace in its query: a condition with the value on the left.
    _, _, condition = sent.shape.text.partition(" WHERE ")
    keys = {re.sub(r'["`\[\]]', "", right) for _, right in _KEYS.findall(condition)}
    return [name for name, column in load.dynamic if column in keys]


def _as_code(sent: ShapeActivity, columns: Sequence[str]) -> str:
    """The condition as code for a mapped class; empty for a table that is not mapped."""
    load = sent.cause.load
    if load is None or not load.owner:
        return ""
    if load.rows and sent.cause.entry in _GETTERS:
        return f": session.scalars(select({load.owner}).where({_in(load, sent)})).all()"
    known = len(columns) == 1 and "." not in columns[0]  # a column of the class
    return f": {load.owner}.{columns[0]}.in_(...)" if known else ""


def _grouped(sent: ShapeActivity) -> str:
    text = sent.shape.text
    if _AGGREGATE.match(text):
        return ", and GROUP BY it"
    if re.search(r"\bLIMIT\b|\bFETCH FIRST\b", text):
        return ", and keep one row for each (row_number() OVER (PARTITION BY ...))"
    return ""


def _write(sent: ShapeActivity, item: str) -> str:
    cause, load = sent.cause, sent.cause.load
    if command := command_fix(sent.shape.text, item=item):
        return command
    operation, table = sent.shape.operation, sent.shape.tables_written[0]
    flushed = load is not None and load.reason == Reason.FLUSH
    mapped = load.owner if load is not None and load.owner else ""
    in_session = flushed or (load is not None and load.reason == Reason.WRITE)
    target, session = mapped or table, "session" if in_session else "connection"
    if flushed:
        trigger = f"{cause.entry or 'flush'}()"
        if cause.entry in _BLOCK_ENDS:
            trigger = "the end of a `with` block"
        elif cause.entry in _BULK_METHODS:
            return (
                f"{operation} on {table}, sent once per {item} by {trigger}: call it once with all "
                f"objects, or write in bulk: {_bulk(sent, session, target)}"
            )
        elif cause.entry not in _WRITERS:
            before = "an attribute is loaded" if cause.entry == _READ_ATTRIBUTE else trigger
            trigger = f"the autoflush before {before} (with session.no_autoflush: prevents it)"
        return (
            f"{operation} on {table}, sent once per {item} by {trigger}: if it stands in a loop, "
            f"change all objects first{' (session.add_all(...))' if operation == 'INSERT' else ''} "
            f"and flush or commit once after it; or write in bulk: {_bulk(sent, session, target)}"
        )
    intro = f"a loop that sends {operation} on {table} once per {item}"
    return f"{intro}: write them in one statement: {_bulk(sent, session, target)}"


def _bulk(sent: ShapeActivity, session: str, target: str) -> str:
    operation = sent.shape.operation
    mapped = sent.cause.load is not None and bool(sent.cause.load.owner)
    keys = [_bare(key) for key in _keys(sent.shape.text)] or ["id"]
    column = f"{target}.{keys[0]}" if mapped else f"{target}.c.{keys[0]}"
    if operation == "INSERT" and re.search(r"\bSELECT\b", sent.shape.text):
        return f"{session}.execute(insert({target}).from_select([...], select(...)))"
    if operation == "INSERT":
        return f"{session}.execute({insert_code(sent.shape.text, target)}, [{{...}}, {{...}}])"
    if operation == "DELETE":
        return f"{session}.execute(delete({target}).where({column}.in_(...)))"
    if operation == "UPDATE":
        same = f"{session}.execute(update({target}).where({column}.in_(...)).values(...))"
        # A list of values names the rows by their keys for a mapped class alone. For a table, the
        # statement would set the keys of all rows.
        if session == "session" and mapped:
            values = f'[{{"{keys[0]}": ..., ...}}, ...]'
            return f"{session}.execute(update({target}), {values}), or for one value {same}"
        return (
            f"{session}.execute(update({target}).where({column} == bindparam('key')), "
            f"[{{'key': ..., ...}}, ...]), or for one value {same}"
        )
    return f"{session}.execute(statement, [{{...}}, {{...}}])"


def _of_merge(owner: str) -> str:
    return (
        f"merge(), which loads every {owner}: load them in one query first "
        f"(session.scalars(select({owner}).where({owner}.id.in_(ids))).all()), so that merge() "
        "finds them in the session"
    )


def _in(load: Load, sent: ShapeActivity) -> str:
    keys = [_bare(key) for key in _keys(sent.shape.text)] or ["id"]
    if len(keys) == 1:
        return f"{load.owner}.{keys[0]}.in_(ids)"
    return f"tuple_({', '.join(f'{load.owner}.{key}' for key in keys)}).in_(keys)"


def _keys(text: str) -> list[str]:
    """The columns that the WHERE clause of a normalised statement compares with values."""
    _, where, condition = text.partition(" WHERE ")
    found = (left or right for left, right in _KEYS.findall(condition)) if where else ()
    return list(dict.fromkeys(found))


def _is_of(table: str, column: str) -> bool:
    """Whether a column belongs to a table, or names none; a join may ask for that of another."""
    named = column.rpartition(".")[0].rpartition(".")[2].strip('"`[]')
    # SQLAlchemy numbers its aliases.
    return not named or re.sub(r"_\d+$", "", named) == re.sub(
        r"_\d+$", "", table.rpartition(".")[2].strip('"`[]')
    )


def _bare(column: str) -> str:
    return column.rpartition(".")[2].strip('"`[]')


def _at(site: CallSite | None) -> str:
    return f" at {site}" if site else ""
