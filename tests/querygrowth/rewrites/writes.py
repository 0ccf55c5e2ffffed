"""Loops that write replaced by single statements."""

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from rewrites.models import Customer, Item, Order, Stock, Tenant
from rewrites.rewrite import Rewrite


def raise_prices(session: Session) -> None:
    for item in session.scalars(select(Item)):
        if item.price is not None:
            item.price += 10


def raise_prices_at_once(session: Session) -> None:
    session.execute(update(Item).values(price=Item.price + 10))


def raise_prices_of_null(session: Session) -> None:
    session.execute(update(Item).values(price=func.coalesce(Item.price, 0) + 10))


def raise_prices_and_forget(session: Session) -> None:
    for item in session.scalars(select(Item)):
        if item.price is not None:
            item.price += 10
    session.rollback()


def delete_open(session: Session) -> int:
    found = session.scalars(select(Item).where(Item.quantity < 1)).all()
    for item in found:
        session.delete(item)
    return len(found)


def delete_open_at_once(session: Session) -> int:
    return session.execute(delete(Item).where(Item.quantity < 1)).rowcount  # type: ignore[attr-defined]


def delete_open_and_one(session: Session) -> int:
    return session.execute(delete(Item).where(Item.quantity <= 1)).rowcount  # type: ignore[attr-defined]


def delete_customers(session: Session) -> None:
    for customer in session.scalars(select(Customer)).all():
        session.delete(customer)


def delete_customers_at_once(session: Session) -> None:
    session.execute(update(Order).values(customer_id=None))
    session.execute(delete(Customer))


def delete_customers_without_orders_first(session: Session) -> None:
    session.execute(delete(Customer))


def copy_stock(session: Session) -> None:
    for tenant in session.scalars(select(Tenant).order_by(Tenant.id)).all():
        session.add(Stock(tenant_id=tenant.id, code="new", amount=1))
        session.flush()


def copy_stock_at_once(session: Session) -> None:
    query = select(Tenant.id, func.lower("NEW"), func.abs(1)).order_by(Tenant.id)
    session.execute(insert(Stock).from_select(["tenant_id", "code", "amount"], query))


def copy_stock_again(session: Session) -> None:
    taken = select(Stock.tenant_id).where(Stock.code == "new")
    query = select(Tenant.id, func.lower("NEW"), func.abs(1)).where(Tenant.id.not_in(taken))
    session.execute(
        insert(Stock).from_select(["tenant_id", "code", "amount"], query.order_by(Tenant.id))
    )


REWRITES = (
    Rewrite(
        raise_prices,
        right=(raise_prices_at_once,),
        wrong={raise_prices_of_null: "content", raise_prices_and_forget: "content"},
        models=(Item,),
    ),
    Rewrite(
        delete_open,
        right=(delete_open_at_once,),
        wrong={delete_open_and_one: ""},
        models=(Item,),
    ),
    Rewrite(
        delete_customers,
        right=(delete_customers_at_once,),
        wrong={delete_customers_without_orders_first: "raised"},
        models=(Customer, Order),
    ),
    Rewrite(
        copy_stock,
        right=(copy_stock_at_once,),
        wrong={copy_stock_again: "raised"},
        models=(Stock, Tenant),
        options={"values": {"stock.code": [*"bcdefghijklmnopqrstuvwxyz", "new"]}},
    ),
)
