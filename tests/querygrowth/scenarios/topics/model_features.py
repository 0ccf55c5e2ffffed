"""What stands between a program and its queries: proxies, hybrids, events, views, dataclasses."""

import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from threading import Thread

from sqlalchemy import Engine, Integer, Table, event, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session, joinedload, selectinload, with_parent
from sqlalchemy.schema import Column, MetaData

from scenarios.billing import (
    Balance,
    Client,
    Invoice,
    Label,
    Room,
    Track,
    audits,
    billing,
)
from scenarios.pair import Pair
from scenarios.shop import Order, shop


def hybrids(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [client.total for client in session.scalars(select(Client))]


def hybrids_of_loaded(engine: Engine) -> list[int]:
    with Session(engine) as session:
        clients = session.scalars(select(Client).options(selectinload(Client.invoices)))
        return [client.total for client in clients]


def counts_in_a_property(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [client.invoice_count for client in session.scalars(select(Client))]


def counts_grouped(engine: Engine) -> list[tuple[int, int]]:
    with Session(engine) as session:
        counted = select(Invoice.client_id, func.count()).group_by(Invoice.client_id)
        return [(client, count) for client, count in session.execute(counted)]


def proxies_to_one(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [client.country_code for client in session.scalars(select(Client))]  # proxy to one


def proxies_to_one_loaded(engine: Engine) -> list[str]:
    with Session(engine) as session:
        clients = session.scalars(select(Client).options(joinedload(Client.country)))
        return [client.country_code for client in clients]


def proxies_to_many(engine: Engine) -> list[list[str]]:
    with Session(engine) as session:
        return [list(each.label_names) for each in session.scalars(select(Invoice))]  # to many


def proxies_to_many_loaded(engine: Engine) -> list[list[str]]:
    with Session(engine) as session:
        invoices = session.scalars(select(Invoice).options(selectinload(Invoice.labels)))
        return [list(each.label_names) for each in invoices]


def shown_rooms(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [repr(room) for room in session.scalars(select(Room))]  # shown


def rooms_as_dicts(engine: Engine) -> list[dict[str, object]]:
    with Session(engine) as session:
        return [asdict(room) for room in session.scalars(select(Room))]  # as dicts


def loaded_rooms_as_dicts(engine: Engine) -> list[dict[str, object]]:
    with Session(engine) as session:
        rooms = session.scalars(select(Room).options(selectinload(Room.desks)))
        return [asdict(room) for room in rooms]


def albums_of_tracks(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [track.album.title for track in session.scalars(select(Track))]  # imperative


def albums_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        tracks = session.scalars(select(Track).options(joinedload(Track.album)))
        return [track.album.title for track in tracks]


def rows_of_a_view(engine: Engine) -> list[int]:
    with Session(engine) as session:
        clients = session.scalars(select(Client.id)).all()
        return [session.get(Balance, client).total for client in clients]  # of a view


def whole_view(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [balance.total for balance in session.scalars(select(Balance))]


MATERIALIZED = text(
    "WITH paid AS MATERIALIZED (SELECT sum(amount) AS a FROM invoices WHERE client_id = :client) "
    "SELECT a FROM paid"
)


def materialized_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        clients = connection.scalars(select(Client.id)).all()
        return [connection.scalar(MATERIALIZED, {"client": each}) for each in clients]  # for each


def materialized_once(engine: Engine) -> list[int]:
    query = MATERIALIZED.text.replace("WHERE client_id = :client", "GROUP BY client_id")
    with engine.connect() as connection:
        return list(connection.scalars(text(query)))


@contextmanager
def listening(target: object, name: str, listener: Callable[..., object]):
    event.listen(target, name, listener)
    try:
        yield
    finally:
        event.remove(target, name, listener)


def _note(mapper, connection, invoice: Invoice) -> None:
    connection.execute(insert(audits), {"what": invoice.status})  # notes a change


def noted_one_by_one(engine: Engine) -> None:
    with listening(Invoice, "after_update", _note), Session(engine) as session:
        for invoice in session.scalars(select(Invoice)):
            invoice.status = "paid"
        session.commit()


def noted_at_once(engine: Engine) -> None:
    with Session(engine) as session:
        invoices = session.scalars(select(Invoice)).all()
        for invoice in invoices:
            invoice.status = "paid"
        session.execute(insert(audits), [{"what": invoice.status} for invoice in invoices])
        session.commit()


def _count(client: Client, context) -> None:
    counted = select(func.count()).where(Invoice.client_id == client.__dict__["id"])
    context.session.connection().scalar(counted)  # when loaded


def counted_when_loaded(engine: Engine) -> list[str]:
    with listening(Client, "load", _count), Session(engine) as session:
        return [client.name for client in session.scalars(select(Client))]


def _check(session: Session, *_flush: object) -> None:
    for invoice in session.new:
        session.scalar(select(Client.name).where(Client.id == invoice.client_id))  # before flush


def _check_all(session: Session, *_flush: object) -> None:
    clients = [invoice.client_id for invoice in session.new]
    session.scalars(select(Client.name).where(Client.id.in_(clients))).all()


def _billed(engine: Engine, check: Callable[..., object]) -> None:
    with Session(engine) as session, listening(session, "before_flush", check):
        clients = session.scalars(select(Client.id)).all()
        session.add_all(Invoice(amount=1, status="new", client_id=each) for each in clients)
        session.commit()


def checked_before_flush(engine: Engine) -> None:
    _billed(engine, _check)


def checked_together(engine: Engine) -> None:
    _billed(engine, _check_all)


def flushed_in_a_loop(engine: Engine) -> None:
    with Session(engine) as session:
        for invoice in session.scalars(select(Invoice)).all():
            invoice.status = "paid"
            session.flush()  # in a loop
        session.commit()


def relationships_refreshed(engine: Engine) -> list[int]:
    with Session(engine) as session:
        clients = session.scalars(select(Client)).all()
        for client in clients:
            session.refresh(client, ["invoices"])  # refreshes
        return [len(client.invoices) for client in clients]


def relationships_selected(engine: Engine) -> list[int]:
    with Session(engine) as session:
        clients = session.scalars(select(Client).options(selectinload(Client.invoices)))
        return [len(client.invoices) for client in clients]


def children_of_a_parent(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [
            invoice
            for client in session.scalars(select(Client)).all()
            for invoice in session.scalars(
                select(Invoice.id).where(with_parent(client, Client.invoices))
            )
        ]


def countries_beside_invoices(engine: Engine) -> list[str]:
    with Session(engine) as session:
        both = session.execute(select(Invoice, Client).join(Invoice.client))
        return [client.country.code for _, client in both]  # second entity


def countries_beside_invoices_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        loaded = joinedload(Client.country)
        both = session.execute(select(Invoice, Client).join(Invoice.client).options(loaded))
        return [client.country.code for _, client in both]


def clients_while_streaming(engine: Engine) -> list[str]:
    streamed = select(Invoice).execution_options(yield_per=5)
    with Session(engine) as session:
        parts = session.scalars(streamed).partitions()
        return [invoice.client.name for part in parts for invoice in part]  # while streaming


def clients_streamed(engine: Engine) -> list[str]:
    streamed = select(Invoice).options(joinedload(Invoice.client))
    with Session(engine) as session:
        parts = session.scalars(streamed.execution_options(yield_per=5)).partitions()
        return [invoice.client.name for part in parts for invoice in part]


def sorted_by_children(engine: Engine) -> list[str]:
    with Session(engine) as session:
        clients = session.scalars(select(Client))
        return [each.name for each in sorted(clients, key=lambda c: len(c.invoices))]  # sorts


def _customer(engine: Engine, order: int, names: list[int]) -> None:
    with Session(engine) as session:
        names += session.scalars(select(Order.customer_id).where(Order.id == order))  # in a thread


def a_thread_for_each(engine: Engine) -> list[int]:
    with Session(engine) as session:
        orders = session.scalars(select(Order.id)).all()
    names: list[int] = []
    for order in orders:
        thread = Thread(target=_customer, args=(engine, order, names))
        thread.start()
        thread.join()
    return names


def upserts(engine: Engine) -> None:
    with Session(engine) as session:
        for client in session.scalars(select(Client.id)).all():
            row = upsert(Label).values(id=client, name="new")
            session.execute(row.on_conflict_do_update(set_={"name": "new"}))  # upserts
        session.commit()


def upserts_at_once(engine: Engine) -> None:
    with Session(engine) as session:
        rows = [{"id": each, "name": "new"} for each in session.scalars(select(Client.id))]
        session.execute(upsert(Label).on_conflict_do_update(set_={"name": "new"}), rows)
        session.commit()


def _next(context) -> int:
    return context.connection.scalar(select(func.count(Label.id)))  # for a default


numbers = Table(
    "numbers",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", Integer, default=_next),
)


def defaults_that_query(engine: Engine) -> None:
    with engine.begin() as connection:
        numbers.create(connection)
        clients = connection.scalars(select(Client.id)).all()
        connection.execute(insert(numbers), [{"id": client} for client in clients])


def defaults_in_python(engine: Engine) -> None:
    with engine.begin() as connection:
        numbers.create(connection)
        number = connection.scalar(select(func.count(Label.id)))
        clients = connection.scalars(select(Client.id)).all()
        rows = [{"id": client, "number": number} for client in clients]
        connection.execute(insert(numbers), rows)


def updates_by_session(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(update(Invoice).values(status="paid"))
        session.commit()


def from_the_eighth_on(engine: Engine) -> list[str]:
    """Nothing is asked for the first items, so that the smaller sizes show no loop."""
    with engine.connect() as connection:
        clients = connection.scalars(select(Client.id)).all()
        names = select(Client.name)
        return [connection.scalar(names.where(Client.id == each)) for each in clients[7:]] or ["-"]


def feature(
    name: str,
    bad: Callable[..., object],
    twin: Callable[..., object] | None,
    place: str,
    *texts: str,
    writes: bool = False,
) -> Pair:
    words = ("queries grew with clients", *map(re.escape, texts))
    scales = (2, 5, 11)
    return Pair(name, bad, twin, words, billing, ("clients",), place, scales, writes=writes)


INVOICES = (".options(selectinload(Client.invoices)) to the query at ",)
DESKS = ("relationship: Room.desks", ".options(selectinload(Room.desks)) to the query at ")

PAIRS = (
    feature("a hybrid property", hybrids, hybrids_of_loaded, "# hybrid", *INVOICES),
    feature(
        "a property that counts", counts_in_a_property, counts_grouped, "# of a property",
        "with WHERE client_id = ?", ", and GROUP BY it",
    ),
    feature(
        "an association proxy to one", proxies_to_one, proxies_to_one_loaded, "# proxy to one",
        "relationship: Client.country", ".options(joinedload(Client.country))",
    ),
    feature(
        "an association proxy to many", proxies_to_many, proxies_to_many_loaded, "# to many",
        "relationship: Invoice.labels", ".options(selectinload(Invoice.labels))",
    ),
    feature("a mapped dataclass as text", shown_rooms, None, "# shown", *DESKS),
    feature(
        "a mapped dataclass as dict", rooms_as_dicts, loaded_rooms_as_dicts, "# as dicts", *DESKS
    ),
    feature(
        "classes mapped by hand", albums_of_tracks, albums_joined, "# imperative",
        "relationship: Track.album", ".options(joinedload(Track.album))",
    ),
    feature(
        "rows of a view one by one", rows_of_a_view, whole_view, "# of a view",
        "queries balances once per item", "select(Balance).where(Balance.client_id.in_(ids))",
    ),
    feature(
        "a materialized expression each", materialized_each, materialized_once, "# for each",
        "queries invoices once per item of clients with WHERE client_id = ?",
    ),
    feature(
        "an INSERT in an event of an update", noted_one_by_one, noted_at_once, "# notes a change",
        "a loop that sends INSERT on audits", "execute(insert(audits), [{...}, {...}])",
        writes=True,
    ),
    feature(
        "a query in an event of loading", counted_when_loaded, counts_grouped, "# when loaded",
        "queries invoices once per item of clients",
    ),
    feature(
        "a query in an event before a flush", checked_before_flush, checked_together,
        "# before flush", "queries clients once per item of clients with WHERE id = ?", writes=True,
    ),
    feature(
        "a flush after each change", flushed_in_a_loop, updates_by_session, "# in a loop",
        "UPDATE on invoices, sent once per item of clients by flush()",
        # A list of values would change the keys of all rows of a table.
        "session.execute(update(invoices).where(invoices.c.id == bindparam('key')), [{'key'",
        writes=True,
    ),
    feature(
        "relationships refreshed", relationships_refreshed, relationships_selected, "# refreshes",
        "relationship: Client.invoices", *INVOICES,
    ),
    feature(
        "children by with_parent", children_of_a_parent, relationships_selected, "",
        "queries invoices once per item of clients with WHERE client_id = ?",
    ),
    feature(
        "a relationship of the second entity", countries_beside_invoices,
        countries_beside_invoices_joined, "# second entity", "relationship: Client.country",
        ".options(joinedload(Client.country))",
    ),
    feature(
        "a relationship while rows are streamed", clients_while_streaming, clients_streamed,
        "# while streaming", ".options(joinedload(Invoice.client))",
    ),
    feature(
        "a key of sorted", sorted_by_children, relationships_selected, "# sorts", *INVOICES
    ),
    Pair(
        "a thread for each", a_thread_for_each, None,
        ("queries orders once per item of orders with WHERE id = ",), shop, ("orders",),
        "# in a thread", (2, 5, 11),
    ),
    feature(
        "upserts", upserts, upserts_at_once, "# upserts",
        "a loop that sends INSERT on labels", "session.execute(insert(Label)", writes=True,
    ),
    feature(
        "a default that queries", defaults_that_query, defaults_in_python, "# for a default",
        "sends the same query about labels", "send it once before the loop", writes=True,
    ),
    Pair(
        "a loop over all but the first items", from_the_eighth_on, None,
        ("constant up to 5, then rising", "once per item of clients"), billing,
        ("clients",), scales=(2, 5, 31),
    ),
)  # fmt: skip
