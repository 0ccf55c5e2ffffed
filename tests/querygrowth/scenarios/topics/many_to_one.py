"""Parents that are looked up for every child. With few parents, the identity map hides it."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, joinedload, selectinload

from scenarios.company import Badge, Department, Person, company
from scenarios.pair import Pair
from scenarios.shop import Customer, Order
from scenarios.store import store


def lazy_customer(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [order.customer.name for order in session.scalars(select(Order))]


def joined_customer(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(joinedload(Order.customer)))
        return [order.customer.name for order in orders]


def got_by_key(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order.customer_id)).all()
        return [session.get(Customer, customer).name for customer in orders]


def got_in_one(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order.customer_id)).all()
        named = select(Customer.id, Customer.name).where(Customer.id.in_(set(orders)))
        names = {row.id: row.name for row in session.execute(named)}
        return [names[customer] for customer in orders]


def distinct_parents(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        owners = connection.scalars(select(Order.customer_id).distinct()).all()
        return [
            connection.scalars(select(Customer.name).where(Customer.id == owner)).one()
            for owner in owners
        ]


def distinct_in_one(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        named = select(Customer.name).where(Customer.id.in_(select(Order.customer_id)))
        return list(connection.scalars(named))


def session_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
    names = []
    for number in orders:
        with Session(engine) as session:
            names.append(session.get(Order, number).customer.name)
    return names


def manager_of_person(engine: Engine) -> list[str]:
    """Two levels up: the department above the department of a person."""
    with Session(engine) as session:
        people = session.scalars(select(Person))
        return [p.department.parent.name if p.department.parent else "" for p in people]


def manager_joined(engine: Engine) -> list[str]:
    loaded = joinedload(Person.department).joinedload(Department.parent)
    with Session(engine) as session:
        people = session.scalars(select(Person).options(loaded))
        return [p.department.parent.name if p.department.parent else "" for p in people]


def department_name(engine: Engine) -> list[tuple[str, str]]:
    with Session(engine) as session:
        return [(person.name, person.department.name) for person in session.scalars(select(Person))]


def department_selected(engine: Engine) -> list[tuple[str, str]]:
    with Session(engine) as session:
        people = session.scalars(select(Person).options(selectinload(Person.department)))
        return [(person.name, person.department.name) for person in people]


def owner_of_badge(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [badge.person.name for badge in session.scalars(select(Badge))]


def owner_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        badges = session.scalars(select(Badge).options(joinedload(Badge.person)))
        return [badge.person.name for badge in badges]


def badge_of_person(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [person.badge.code for person in session.scalars(select(Person)) if person.badge]


def badge_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        people = session.scalars(select(Person).options(joinedload(Person.badge)))
        return [person.badge.code for person in people if person.badge]


TOGETHER = ("queries grew with orders and customers together", "customers: ", "linear, slope 1.00")
PEOPLE = ("queries grew with people and departments together", "departments: ")

PAIRS = (
    Pair(
        "many to one",
        lazy_customer,
        joined_customer,
        TOGETHER,
        store,
        ("orders", "customers"),
        place="order.customer.name",
    ),
    Pair(
        "many to one at the default scales",
        lazy_customer,
        joined_customer,
        TOGETHER,
        store,
        ("orders", "customers"),
        scales=(2, 20, 501),
    ),
    Pair(
        "many to one of three axes",
        lazy_customer,
        joined_customer,
        TOGETHER,
        store,
        ("items", "orders", "customers"),
    ),
    Pair(
        "parents got by key",
        got_by_key,
        got_in_one,
        ("queries grew with orders", "customers: 2, 8, 20"),
        store,
        ("orders", "customers"),
    ),
    Pair(
        "distinct parents", distinct_parents, distinct_in_one, TOGETHER, store,
        ("orders", "customers"),
    ),
    Pair(
        "a session for each child",
        session_each,
        joined_customer,
        ("queries grew with orders", "transactions grew with orders"),
        store,
        ("orders", "customers"),
    ),
    Pair(
        "two levels up",
        manager_of_person,
        manager_joined,
        PEOPLE,
        company,
        ("people", "departments"),
    ),
    Pair(
        "the department's name",
        department_name,
        department_selected,
        PEOPLE,
        company,
        ("people", "departments"),
    ),
    Pair(
        "the owner of a badge",
        owner_of_badge,
        owner_joined,
        ("queries grew with people", "people: 2, 8, 20"),
        company,
        ("people",),
    ),
    Pair(
        "one to one",
        badge_of_person,
        badge_joined,
        ("queries grew with people", "badges: 2, 8, 20"),
        company,
        ("people",),
    ),
)  # fmt: skip
