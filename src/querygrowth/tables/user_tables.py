"""The tables that a user names: models, a declarative base, metadata, Table objects, or names.

Mappers add what tables do not show: which rows of a table are which class of an inheritance.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, MetaData, Table, UniqueConstraint
from sqlalchemy.orm import Mapper, mapperlib, registry

from querygrowth.counting.table_names import TableNames, is_named
from querygrowth.tables.table_rules import Key, full_name


@dataclass(frozen=True)
class Lineage:
    """The place of a table in a joined or single table inheritance.

    Attributes:
        root: The table that has the discriminator.
        discriminator: The column that says which class a row is.
        parent: The table above; None for the root.
        own: The discriminator's values whose rows end in this table.
        below: The values whose rows end in this table or below it.
    """

    root: Key
    discriminator: str
    parent: Key | None
    own: tuple[object, ...]
    below: tuple[object, ...]


@dataclass
class UserTables:
    """What the user has named.

    Attributes:
        known: The Table objects that are known, also those not asked for.
        asked: The tables to fill, by Table.
        names: The tables to fill, by name.
        lineages: By table, where there is an inheritance.
    """

    known: dict[Key, Table] = field(default_factory=dict)
    asked: list[Key] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lineages: dict[Key, Lineage] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was named, which asks for all tables of the database."""
        return not (self.asked or self.names)


def key_of(table: Table) -> Key:
    """The schema and name of a table, as the user's Table has them."""
    return table.schema, table.name


def user_tables(given: object) -> UserTables:
    """Collect the tables that a value names.

    Args:
        given: None, "all", a declarative base or something else with `metadata`, MetaData, a mapped
            class, a Table, the name of a table, or an iterable of these.

    Raises:
        ValueError: The value, or a part of it, names no table.
    """
    found = UserTables()
    registries: dict[int, registry] = {}
    for each in _parts(given):
        _collect(each, found, registries)
    mappers = [mapper for each in registries.values() for mapper in each.mappers]
    found.lineages = _lineages(mappers)
    found.asked = list(dict.fromkeys(found.asked))
    return found


def _parts(given: object) -> Iterable[object]:
    if given is None or (isinstance(given, str) and given == "all"):
        return ()
    if isinstance(given, list | tuple | set | frozenset):
        if not given:
            raise ValueError("no table is named: pass models, a declarative base, or Table objects")
        return given
    return (given,)


def _collect(each: object, found: UserTables, registries: dict[int, registry]) -> None:
    table = each if isinstance(each, Table) else getattr(each, "__table__", None)
    if isinstance(each, str):
        found.names.append(each)
        return
    if isinstance(table, Table):
        metadata, asked = table.metadata, [table]
    else:
        held = each if isinstance(each, MetaData) else getattr(each, "metadata", None)
        if not isinstance(held, MetaData):
            raise ValueError(
                f"no table in {each!r}: pass models, a declarative base, MetaData, Table objects "
                "or the names of tables"
            )
        metadata, asked = held, list(held.tables.values())
        if not asked:
            raise ValueError(f"{each!r} has no tables: import the modules that define the models")
    found.known.update({key_of(one): one for one in metadata.tables.values()})
    found.asked += [key_of(one) for one in asked]
    for one in _registries(each, metadata):
        registries[id(one)] = one


def _registries(named: object, metadata: MetaData) -> list[registry]:
    own = getattr(named, "registry", None)
    if isinstance(own, registry):
        return [own]
    return [each for each in every_registry() if each.metadata is metadata]


def _lineages(mappers: Iterable[Mapper[Any]]) -> dict[Key, Lineage]:
    found: dict[Key, Lineage] = {}
    for mapper in mappers:
        discriminator: Any = mapper.polymorphic_on
        table = mapper.local_table
        root = mapper.base_mapper.local_table
        if (
            not isinstance(discriminator, Column)
            or mapper.concrete
            or not isinstance(table, Table)
            or not isinstance(root, Table)
            or discriminator.table is not root
        ):
            continue
        above = mapper.inherits
        while above is not None and above.local_table is table:
            above = above.inherits
        own = _identities(one for one in mapper.self_and_descendants if one.local_table is table)
        before = found.get(key_of(table))
        if before is not None and len(before.own) >= len(own):
            continue  # a class of a single table inheritance, which its base has counted
        found[key_of(table)] = Lineage(
            root=key_of(root),
            discriminator=discriminator.name,
            parent=None if above is None else key_of(above.local_table),  # type: ignore[arg-type]
            own=own,
            below=_identities(mapper.self_and_descendants),
        )
    return found


def _identities(mappers: Iterable[Mapper[Any]]) -> tuple[object, ...]:
    return tuple(
        dict.fromkeys(
            each.polymorphic_identity for each in mappers if each.polymorphic_identity is not None
        )
    )


def rows_by_identity(
    root: Key, lineages: Mapping[Key, Lineage], wanted: Mapping[Key, int]
) -> list[object]:
    """The discriminators of the rows to add to a root, for the rows wanted in the tables below.

    Args:
        root: The table with the discriminator.
        lineages: All lineages.
        wanted: How many rows are wanted that end in a table.
    """
    return [
        lineage.own[n % len(lineage.own)]
        for table, lineage in lineages.items()
        if lineage.root == root and lineage.own
        for n in range(wanted.get(table, 0))
    ]


def resolved_table(name: object, *groups: Sequence[Key]) -> Key:
    """The table that a user's name means.

    Args:
        name: A name, with its schema or without it; or a model or Table.
        groups: The tables that exist, those that are meant most probably first.

    Raises:
        ValueError: There is no such table, or several.
    """
    table = getattr(name, "__table__", name)
    named = getattr(table, "fullname", table)
    if not isinstance(named, str):
        raise ValueError(f"a table is named by a text or a model, got {name!r}")
    for candidates in groups:
        found = [
            key
            for key in candidates
            if is_named(named, key[1], () if key[0] is None else (full_name(key),))
        ]
        exact = [key for key in found if full_name(key) == named]
        found = exact or found
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(full_name(key) for key in found)
            raise ValueError(f"{named} may be one of {listed}: name it with its schema")
    names = TableNames(full_name(key) for candidates in groups for key in candidates)
    nearest = f"; did you mean {names.nearest(named)}?" if names else ""
    raise ValueError(f"there is no table {named}{nearest}")


def connecting_tables(
    tables: Iterable[Table], chosen: Collection[Key]
) -> dict[Key, tuple[Key, ...]]:
    """The tables that only connect chosen ones, with the tables that they connect.

    Args:
        tables: All tables.
        chosen: Those that are filled. One that connects others may be among them.
    """
    found: dict[Key, tuple[Key, ...]] = {}
    for table in tables:
        links = [*table.foreign_key_constraints]
        parents = tuple(dict.fromkeys(key_of(each.referred_table) for each in links))
        if len(links) > 1 and set(parents) <= {*chosen} - {key_of(table)} and _connects(table):
            found[key_of(table)] = parents
    return found


def _connects(table: Table) -> bool:
    """Whether all columns are foreign keys, or those of a key that several foreign keys make up."""
    if all(column.foreign_keys for column in table.columns):
        return True
    keys = [[*table.primary_key.columns]]
    keys += [[*each.columns] for each in table.constraints if isinstance(each, UniqueConstraint)]
    return any(len(key) > 1 and all(column.foreign_keys for column in key) for key in keys)


def known_metadata() -> MetaData:
    """The metadata of the models that are imported.

    Raises:
        ValueError: There are no models, or those of several bases.
    """
    found = list(
        dict.fromkeys(
            each.metadata for each in every_registry() if any(each.mappers) and each.metadata.tables
        )
    )
    if not found:
        raise ValueError("no models are imported: import the modules that define them")
    if len(found) > 1:
        named = "; ".join(", ".join(list(each.tables)[:3]) for each in found)
        raise ValueError(
            f"the models that are imported belong to several bases, with the tables {named}: "
            "give models=Base"
        )
    return found[0]


def every_registry() -> set[registry]:
    """All registries of mapped classes. SQLAlchemy has no public list of them."""
    found: set[registry] = getattr(mapperlib, "_all_registries", set)()
    return found
