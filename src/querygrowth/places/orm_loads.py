"""Tell why SQLAlchemy's ORM sent a statement: a lazy load, an expired attribute, a flush, ...

`raw_load` collects references inside the statement. `load_of` turns them into a `Load` of plain
values, which passes between processes.
"""

# The facts are those of SQLAlchemy's ORMExecuteState (`lazy_loaded_from`, `loader_strategy_path`,
# `is_column_load`). That object is made only for listeners on sessions; a listener there would
# change how sessions run. The same facts travel with the statement under the names that are read
# here, in 2.0 and 2.1. `tests/querygrowth/test_orm_loads.py` compares the two.

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # a project that uses Core alone does not pay for the import
    from sqlalchemy.orm import Mapper, RelationshipProperty


# Options of an INSERT, UPDATE or DELETE about a mapped class that a session runs.
_IN_SESSION = ("_sa_orm_insert_options", "_sa_orm_update_options", "_sa_orm_delete_options")


class Reason(str, Enum):
    """Why a statement was sent."""

    LAZY = "lazy"  # a relationship was read that was not loaded yet
    EAGER = "eager"  # a loader option such as selectinload
    EXPIRED = "expired"  # an attribute was read after its object had expired
    PARTLY_EXPIRED = "partly expired"  # the same where only some attributes had expired
    SUBCLASS = "subclass"  # a column of a subclass was read of an object of a query of its base
    DEFERRED = "deferred"  # a deferred column was read
    REFRESHED = "refreshed"  # Session.refresh
    QUERY = "query"  # the user's own statement about a mapped class
    WRITE = "write"  # the same on a session, where it changes rows
    FLUSH = "flush"  # a unit of work wrote its changes

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


# The facts as references to mappers and relationships, which outlive the statement: the reason, the
# mapper of the objects that caused it or that the user's statement is about, and a detail. This is
# the path of the load, the names of attributes, or, for the user's own statement, whether it loads
# objects and its options. A plain tuple, because one is made inside of every statement of the ORM.
RawLoad: TypeAlias = tuple[Reason, Any, Any]
# An attribute of an Enum class is slow to read in some versions of CPython.
_LAZY, _EAGER, _QUERY = Reason.LAZY, Reason.EAGER, Reason.QUERY


class Load(NamedTuple):
    """Why the ORM sent a statement, in plain values.

    Attributes:
        reason: Why the statement was sent.
        owner: The class whose attributes were loaded; for a query the class of its rows.
        attributes: The relationship, or the columns, that were loaded.
        target: The class of the rows.
        collection: Whether the relationship is a collection.
        recursive: Whether the relationship leads from a class to the same class.
        needs: The class whose objects caused the load, as `rows` of the statement that loaded them.
        needs_table: The table of that class.
        rows: The class of the loaded objects, or the base class of its hierarchy; empty if the rows
            are no new objects.
        base: For columns of a subclass, the base class of its hierarchy.
        via: The relationships of eager joins that lead from the query's class to `owner`.
        joined: For a query, the classes that come with its objects (as in `rows`), and the
            relationships that lead to them.
        dynamic: For a query, the `dynamic` and `write_only` relationships that may have sent it:
            name and column, such as ("Order.items", "items.order_id").
        alias: For a query, how its entity was made if it is not a class, such as "aliased(Order)".
    """

    reason: str
    owner: str = ""
    attributes: tuple[str, ...] = ()
    target: str = ""
    collection: bool = False
    recursive: bool = False
    needs: str = ""
    needs_table: str = ""
    rows: str = ""
    base: str = ""
    via: tuple[str, ...] = ()
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()
    dynamic: tuple[tuple[str, str], ...] = ()
    alias: str = ""

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "Load":
        """Build the load that another process wrote as JSON."""
        load = cls(*values)
        return load._replace(
            attributes=tuple(load.attributes),
            via=tuple(load.via),
            joined=tuple((rows, tuple(names)) for rows, names in load.joined),
            dynamic=tuple((name, column) for name, column in load.dynamic),
        )

    @property
    def relationship(self) -> str:
        """The relationship as code, such as `Order.items`; empty if the load is of no such."""
        refreshed = self.reason == Reason.REFRESHED and (
            self.recursive or self.target != self.owner
        )
        if not refreshed and self.reason not in (Reason.LAZY, Reason.EAGER):
            return ""
        return f"{self.owner}.{self.attributes[0]}"

    @property
    def option(self) -> str:
        """The loader option for the relationship, as code."""
        name = "selectinload" if self.collection else "joinedload"
        # A recursive relationship is read level by level. selectinload fetches level by level too.
        if self.recursive:
            return f"selectinload({self.relationship}, recursion_depth=-1)"
        return f"{name}({self.relationship})"


def raw_load(context: Any) -> RawLoad | None:
    """The facts of the statement that an execution context runs; None if the ORM did not send it.

    Args:
        context: The ExecutionContext of `before_cursor_execute`, or None.
    """
    # This runs inside every statement. Nothing is interpreted, and nothing is kept that holds
    # objects of the user alive.
    try:
        options = context.execution_options
        statement = context.invoked_statement
        about = statement._propagate_attrs
        if not about and not options:
            return None  # mostly a statement of Core
        loading = options.get("_sa_orm_load_options")  # absent where a query has default options
        if loading is not None:
            state = loading._lazy_loaded_from
            if state is not None:
                return (_LAZY, state.mapper, statement._compile_options._current_path)
            state = loading._refresh_state
            if state is not None:
                return _column_load(state, loading, statement._compile_options._only_load_props)
        subject = about.get("plugin_subject")
        if "compiled_cache" in options and options["compiled_cache"] is not None:
            return (Reason.FLUSH, subject, None)
        if subject is None:
            return None
        if not context.is_crud:
            path = getattr(statement._compile_options, "_current_path", None)
            if path:
                return (_EAGER, None, path)
            # A column of a class belongs to its entity too, but has a key of its own.
            first = statement._raw_columns[0]._annotations
            of_objects = "parententity" in first and "proxy_key" not in first
            return (_QUERY, subject, (of_objects, statement._with_options))
        in_session = any(name in options for name in _IN_SESSION)
        return (Reason.WRITE if in_session else _QUERY, subject, (False, ()))
    # A driver statement has no context or no statement, text() has no entity, and another release
    # of SQLAlchemy may have other names. Then the advice is that for statements of Core.
    except (AttributeError, IndexError, TypeError):
        return None


def loads_subclass(context: Any) -> bool:
    """Whether a query of the ORM loads the columns of a subclass, as `selectin_polymorphic` does.

    Args:
        context: The ExecutionContext of a statement whose reason is `Reason.QUERY`.
    """
    # The path of such a load is empty. Its parameter has a name that SQLAlchemy gives to no other
    # statement without a path.
    return "primary_keys" in getattr(context.compiled, "binds", ())


def _column_load(state: Any, loading: Any, keys: frozenset[str] | None) -> RawLoad:
    # Only Session.refresh loads all attributes without naming them.
    if getattr(loading, "_is_user_refresh", False) or keys is None:
        return (Reason.REFRESHED, state.mapper, keys)
    if state.expired:
        return (Reason.EXPIRED, state.mapper, keys)
    if keys & state.expired_attributes:
        # Parts of an object expire by Session.expire(object, names), and when the unit of work does
        # not know the value that the database has computed.
        return (Reason.PARTLY_EXPIRED, state.mapper, keys)
    return (Reason.DEFERRED, state.mapper, keys)


def load_of(raw: RawLoad | Load | None) -> Load | None:
    """The readable form of a recorded load. One of another process is readable already."""
    if raw is None or isinstance(raw, Load):
        return raw
    reason, subject, detail = raw
    if reason is Reason.FLUSH:
        return Load(reason.value)
    if reason in (Reason.LAZY, Reason.EAGER):
        # A path alternates mappers with their attributes. Only a relationship has `uselist`.
        path = [step for step in detail.path if hasattr(step, "uselist")]
        return _relationship_load(reason, path, subject) if path else None
    mapper: Mapper[Any] = subject.mapper
    name = mapper.class_.__name__
    if reason in (Reason.QUERY, Reason.WRITE):
        of_objects, options = detail
        return Load(
            reason.value,
            owner=name,
            target=name,
            rows=_family(mapper) if of_objects else "",
            joined=tuple(_joined_classes(mapper, options)) if of_objects else (),
            dynamic=tuple(_dynamic_relationships(mapper)),
            alias=_alias(subject, name) if of_objects else "",
        )
    if reason is Reason.REFRESHED and (names := _refreshed_relationships(mapper, detail or ())):
        # refresh(order, ["items"]) selects the key of the order too, and no objects with it.
        path = [mapper.relationships[names[0]]]
        return _relationship_load(reason, path, mapper)._replace(rows="")
    columns = tuple(_columns(mapper, detail or ()))
    parent = mapper.inherits
    # Columns of the table that joined inheritance adds, which a query of the base class leaves out.
    added = parent is not None and mapper.local_table is not parent.local_table
    if (
        added
        and columns
        and all(mapper.columns[key].table is mapper.local_table for key in columns)
    ):
        reason = Reason.SUBCLASS if reason is not Reason.EXPIRED else reason
    return Load(
        reason.value,
        owner=name,
        attributes=columns,
        target=name,
        base=mapper.base_mapper.class_.__name__ if reason is Reason.SUBCLASS else "",
        needs=_family(mapper),
        needs_table=_table(mapper),
    )


def _relationship_load(
    reason: Reason, path: "Sequence[RelationshipProperty[Any]]", owner: "Mapper[Any] | None"
) -> Load:
    relationship = path[-1]
    parent = owner or relationship.parent
    return Load(
        reason.value,
        owner=relationship.parent.class_.__name__,
        attributes=(relationship.key,),
        target=relationship.mapper.class_.__name__,
        collection=bool(relationship.uselist),
        recursive=relationship.mapper.base_mapper is relationship.parent.base_mapper,
        needs=_family(parent),
        needs_table=_table(parent),
        rows=_family(relationship.mapper),
        via=tuple(map(_name, path[:-1])),
    )


def _joined_classes(
    mapper: "Mapper[Any]", options: Iterable[Any]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the classes whose objects come with those of a query, and the way to them."""
    # The elements of a loader option. Other options have none.
    for element in (each for option in options for each in getattr(option, "context", ())):
        path = [step for step in element.path.path if hasattr(step, "uselist")]
        if path:
            yield _family(path[-1].mapper), tuple(map(_name, path))
    for relationship in mapper.relationships:
        if relationship.lazy in ("joined", False):
            yield _family(relationship.mapper), (_name(relationship),)


def _alias(subject: Any, name: str) -> str:
    """The code that made the entity of a query; empty for the class itself."""
    if not getattr(subject, "is_aliased_class", False):
        return ""
    several = getattr(subject, "with_polymorphic_mappers", ())
    return f"with_polymorphic({name}, ...)" if len(several) > 1 else f"aliased({name})"


def _name(relationship: "RelationshipProperty[Any]") -> str:
    return f"{relationship.parent.class_.__name__}.{relationship.key}"


def _family(mapper: "Mapper[Any]") -> str:
    """The base class of a mapper's hierarchy: its objects may be loaded as any class of it."""
    base = mapper.base_mapper.class_
    return f"{base.__module__}.{base.__qualname__}"


def _table(mapper: "Mapper[Any]") -> str:
    return str(getattr(mapper.local_table, "name", ""))


def _columns(mapper: "Mapper[Any]", keys: Iterable[str]) -> Iterator[str]:
    """The keys that are of columns, in the order of the mapper's attributes."""
    wanted = set(keys)
    return (attribute.key for attribute in mapper.column_attrs if attribute.key in wanted)


def _refreshed_relationships(mapper: "Mapper[Any]", keys: Iterable[str]) -> list[str]:
    """The relationships among the keys, if the other keys are those of the primary key."""
    primary = {mapper.get_property_by_column(column).key for column in mapper.primary_key}
    known = mapper.relationships.keys()
    others = {key for key in keys if key not in known}
    return sorted(key for key in keys if key in known) if others <= primary else []


def _dynamic_relationships(mapper: "Mapper[Any]") -> Iterator[tuple[str, str]]:
    for owner in mapper.registry.mappers:
        for relationship in owner.relationships:
            if relationship.lazy in ("dynamic", "write_only") and relationship.mapper is mapper:
                for column in relationship.remote_side:
                    yield _name(relationship), f"{getattr(column.table, 'name', '')}.{column.name}"
