"""Endpoints of a web application, through a test client, plain and async."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, selectinload

from rewrites.models import Customer, Order
from rewrites.rewrite import Rewrite


@dataclass
class Response:
    """What a test client returns, as httpx and others have it."""

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(status: int, value: object, **headers: str) -> Response:
    # The date and the length differ between two answers that are the same.
    noise = {"Date": str(id(value)), "Content-Length": "0"}
    kinds = {"Content-Type": "application/json", **headers, **noise}
    return Response(status, json.dumps(value).encode(), kinds)


@dataclass
class Client:
    session: Session

    def get(self, path: str) -> Response:
        version, _, number = path.strip("/").partition("/")
        customer = self.session.get(Customer, int(number))
        if customer is None:
            if version == "v3":
                return as_json(200, None)
            return as_json(404, {"detail": "no such customer"})
        query = select(Order).where(Order.customer_id == customer.id)
        orders = [{"id": o.id, "total": str(o.total)} for o in self.session.scalars(query)]
        if version == "v2":  # keys and rows in another order
            orders = [{"total": o["total"], "id": o["id"]} for o in reversed(orders)]
        if version == "v4":
            return as_json(200, {"name": customer.name, "orders": orders, "more": False})
        count = {"X-Total-Count": str(len(orders) if version != "v5" else 0)}
        return as_json(200, {"name": customer.name, "orders": orders}, **count)


@contextmanager
def client_of(engine: Engine) -> Iterator[Client]:
    with Session(engine) as session:
        yield Client(session)


def get_v1(client: Client, number: int) -> Response:
    return client.get(f"/v1/{number}")


def get_v2(client: Client, number: int) -> Response:
    return client.get(f"/v2/{number}")


def get_v3(client: Client, number: int) -> Response:
    return client.get(f"/v3/{number}")


def get_v4(client: Client, number: int) -> Response:
    return client.get(f"/v4/{number}")


def get_v5(client: Client, number: int) -> Response:
    return client.get(f"/v5/{number}")


@asynccontextmanager
async def async_session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine) as session:
        yield session


async def listed(session: AsyncSession) -> Response:
    customers = (await session.scalars(select(Customer).order_by(Customer.id))).all()
    found = []
    for customer in customers:
        orders = await session.scalars(select(Order.id).where(Order.customer_id == customer.id))
        found.append({"name": customer.name, "orders": sorted(orders)})
    return as_json(200, found)


async def listed_at_once(session: AsyncSession) -> Response:
    query = select(Customer).order_by(Customer.id).options(selectinload(Customer.orders))
    customers = await session.scalars(query)
    return as_json(
        200, [{"name": c.name, "orders": [order.id for order in c.orders]} for c in customers]
    )


async def listed_lazily(session: AsyncSession) -> Response:
    customers = await session.scalars(select(Customer).order_by(Customer.id))
    return as_json(
        200, [{"name": c.name, "orders": [order.id for order in c.orders]} for c in customers]
    )


async def listed_as_text(session: AsyncSession) -> Response:
    response = await listed_at_once(session)
    return Response(200, response.content, {"Content-Type": "text/plain"})


REWRITES = (
    Rewrite(
        get_v1,
        right=(get_v2,),
        wrong={get_v3: "value", get_v4: "", get_v5: "value"},
        models=(Customer, Order),
        options={"arguments": {"number": Customer.id}, "through": client_of},
    ),
    Rewrite(
        listed,
        right=(listed_at_once,),
        wrong={listed_lazily: "raised", listed_as_text: ""},
        models=(Customer, Order),
        options={"through": async_session},
    ),
)
