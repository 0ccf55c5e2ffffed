"""Tables of invoices, mapped with what SQLAlchemy offers beside columns and relationships."""

from sqlalchemy import (
    DDL,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
    select,
)
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    mapped_column,
    object_session,
    registry,
    relationship,
)

from scenarios.pair import Rows, in_memory, numbered


class Base(DeclarativeBase):
    pass


class Country(Base):
    __tablename__ = "countries"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]


class Client(Base):
    __tablename__ = "clients"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    country_id: Mapped[int] = mapped_column(ForeignKey("countries.id"))
    country: Mapped[Country] = relationship()
    invoices: Mapped[list["Invoice"]] = relationship(back_populates="client")
    country_code: AssociationProxy[str] = association_proxy("country", "code")

    @hybrid_property
    def total(self) -> int:
        return sum(invoice.amount for invoice in self.invoices)  # hybrid

    @property
    def invoice_count(self) -> int:
        counted = select(func.count(Invoice.id)).where(Invoice.client_id == self.id)
        return object_session(self).scalar(counted)  # of a property


class Invoice(Base):
    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
    status: Mapped[str]
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), index=True)
    client: Mapped[Client] = relationship(back_populates="invoices")
    labels: Mapped[list["Label"]] = relationship(secondary="invoice_labels")
    label_names: AssociationProxy[list[str]] = association_proxy("labels", "name")


class Label(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Room(MappedAsDataclass, Base):
    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(primary_key=True)
    desks: Mapped[list["Desk"]] = relationship(default_factory=list)


class Desk(MappedAsDataclass, Base):
    __tablename__ = "desks"
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"), index=True)


class Balance(Base):
    """A view."""

    __table__ = Table(
        "balances",
        MetaData(),  # it is not created as a table
        Column("client_id", Integer, primary_key=True),
        Column("total", Integer),
    )


invoice_labels = Table(
    "invoice_labels",
    Base.metadata,
    Column("invoice_id", ForeignKey("invoices.id"), primary_key=True),
    Column("label_id", ForeignKey("labels.id"), primary_key=True),
)
audits = Table(
    "audits", Base.metadata, Column("id", Integer, primary_key=True), Column("what", String)
)

imperative = registry(metadata=Base.metadata)
albums = Table(
    "albums", Base.metadata, Column("id", Integer, primary_key=True), Column("title", String)
)
tracks = Table(
    "tracks",
    Base.metadata,
    Column("id", Integer, primary_key=True),
    Column("album_id", ForeignKey("albums.id")),
)


class Album:
    pass


class Track:
    pass


imperative.map_imperatively(Album, albums)
imperative.map_imperatively(Track, tracks, properties={"album": relationship(Album)})


event.listen(
    Base.metadata,
    "after_create",
    DDL(
        "CREATE VIEW balances AS "
        "SELECT client_id, sum(amount) AS total FROM invoices GROUP BY client_id"
    ),
)


def _rows(clients: int = 2, invoices: int = 2) -> Rows:
    every = clients * invoices
    return {
        Country.__table__: numbered(clients, code=lambda n: f"c{n}"),
        Client.__table__: numbered(clients, name=lambda n: f"n{n}", country_id=lambda n: n),
        Invoice.__table__: numbered(
            every, amount=lambda n: n, status="open", client_id=lambda n: n % clients
        ),
        Label.__table__: numbered(invoices, name=lambda n: f"l{n}"),
        invoice_labels: [{"invoice_id": n, "label_id": n % invoices} for n in range(every)],
        Room.__table__: numbered(clients),
        Desk.__table__: numbered(clients * 2, room_id=lambda n: n % clients),
        albums: numbered(clients, title="title"),
        tracks: numbered(clients * 2, album_id=lambda n: n % clients),
    }


billing = in_memory(Base.metadata, _rows)
"""Makes an engine on a database of `clients` clients with `invoices` invoices each."""
