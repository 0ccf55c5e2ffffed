"""What a comparison of two functions says, and what it refuses."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from rewrites.models import Base, Customer, Item, Order, Stock
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    select,
    types,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from querygrowth.rewrites import InconclusiveError, assert_same_results, compare_results
from querygrowth.rewrites.small_rows import DrawnRow
from querygrowth.rewrites.trial import Judged, Trial
from querygrowth.verdict import Outcome, VerdictError

pytestmark = pytest.mark.skipif(
    not hasattr(Session, "get_one"), reason="the examples need Session.get_one of SQLAlchemy 2.0.22"
)


def names(session: Session) -> list[str]:
    return list(session.scalars(select(Customer.name).order_by(Customer.id)))


def names_in_a_loop(session: Session) -> list[str]:
    numbers = session.scalars(select(Customer.id).order_by(Customer.id)).all()
    return [session.get_one(Customer, number).name for number in numbers]


def names_without_a(session: Session) -> list[str]:
    return [name for name in names(session) if name != "a"]


def test_a_pass_says_how_the_queries_grow() -> None:
    report = assert_same_results(names_in_a_loop, names, models=[Customer], databases=10)
    assert report.old_queries == "1 + customers"
    assert report.new_queries == "1"
    assert str(report).endswith(
        "same results over 10 databases; queries 1 + customers before, 1 after"
    )


def test_the_printed_rows_reproduce_the_difference() -> None:
    report = compare_results(names, names_without_a, models=[Customer])
    assert report.outcome is Outcome.FAILED
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.executescript("PRAGMA foreign_keys = ON;" + "\n".join(report.inserts))
        session = Session(connection)
        assert names(session) == ["a"]
        assert names_without_a(session) == []
    engine.dispose()


def test_the_assertion_shows_the_verdict() -> None:
    with pytest.raises(VerdictError, match=r"INSERT INTO customers .* 'a'"):
        assert_same_results(names, names_without_a, models=[Customer])


def always_empty(session: Session) -> list[str]:
    return list(session.scalars(select(Customer.name).where(Customer.id < 0)))


def broken(session: Session) -> list[str]:
    raise LookupError("broken")


def elsewhere(_session: Session) -> list[int]:
    return [1, 2, 3]


def any_two(session: Session) -> list[datetime]:
    return [datetime.now(), datetime.now()]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (always_empty, "the old result was empty or a single row in 6 of 6 databases"),
        (broken, "the old function raised in 6 of 6 databases, mostly LookupError: broken"),
        (elsewhere, "the old result was the same in all 6 databases"),
        (any_two, "the old result depended on the order of reading, or on the time, in 6 of 6"),
    ],
)
def test_nothing_shown_is_inconclusive(function: Callable[..., object], said: str) -> None:
    with pytest.raises(InconclusiveError) as caught:
        assert_same_results(function, function, models=[Customer], databases=6)
    assert said in str(caught.value)
    assert caught.value.verdicts[0].outcome is Outcome.INCONCLUSIVE


def buyers(session: Session) -> list[str]:
    """Seldom two: mostly few parents have children that are selected."""
    paid = select(Order.id).where(Order.customer_id == Customer.id, Order.status == "paid").exists()
    return list(session.scalars(select(Customer.name).where(paid).order_by(Customer.id)))


def test_more_rows_are_drawn_where_results_are_thin() -> None:
    report = compare_results(buyers, buyers, models=[Customer, Order], databases=20, growth=False)
    assert report.outcome is Outcome.PASSED, str(report)


def preferences(session: Session) -> list[int]:
    found = session.scalars(select(Account).order_by(Account.id))
    return [each.id for each in found if (each.settings or {}).get("mail") == "daily"]


class Settings(DeclarativeBase):
    pass


class Account(Settings):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any] | None] = mapped_column(JSON)


def test_objects_of_json_have_the_keys_and_values_that_code_compares_with() -> None:
    report = compare_results(preferences, preferences, models=[Account], databases=10, growth=False)
    assert report.outcome is Outcome.PASSED, str(report)


def stamped(session: Session) -> None:
    for item in session.scalars(select(Item)).all():
        session.add(Item(order_id=item.order_id, quantity=datetime.now().microsecond))


def stamped_without_order(session: Session) -> None:
    for item in session.scalars(select(Item).limit(1)).all():
        session.add(Item(order_id=item.order_id, quantity=datetime.now().microsecond))


def test_a_column_that_changes_in_every_call_is_named_and_left_out() -> None:
    passed = compare_results(stamped, stamped, models=[Item], databases=8, growth=False)
    assert passed.outcome is Outcome.PASSED, str(passed)
    assert "items.quantity" in passed.verdict.evidence[-1]
    failed = compare_results(stamped, stamped_without_order, models=[Item])
    assert failed.verdict.kind == "content", str(failed)


def add_stock(session: Session, code: str) -> int:
    session.add(Stock(tenant_id=1, code=code, amount=1))
    session.flush()
    return 1


def add_stock_by_core(session: Session, code: str) -> int:
    session.execute(insert(Stock).values(tenant_id=1, code=code, amount=1))
    return 1


def test_errors_of_the_database_are_compared_without_their_statement() -> None:
    report = compare_results(
        add_stock,
        add_stock_by_core,
        models=[Stock],
        arguments={"code": Stock.code},
        databases=8,
        growth=False,
    )
    assert report.outcome is not Outcome.FAILED, str(report)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": []}, "no table is named"),
        ({"models": [int]}, "no table in <class 'int'>: pass models"),
        ({"models": [Customer], "arguments": {"x": 1}}, "old is called as names"),
        ({"models": [Customer], "values": {"customers.nam": ["a"]}}, "which is no column"),
        ({"models": [Customer], "databases": 0}, "databases must be a whole number from 1"),
        ({"models": [Customer], "engine": "sqlite://"}, "engine must be an SQLAlchemy engine"),
    ],
)
def test_a_wrong_question_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compare_results(names, names, **options)


def test_an_argument_of_an_unknown_kind_is_refused() -> None:
    def by_number(session: Session, number: int) -> list[str]:
        return []

    with pytest.raises(ValueError, match=r"arguments\['number'\] must be a column"):
        compare_results(by_number, by_number, models=[Customer], arguments={"number": 1})


class Odd(types.UserDefinedType[object]):
    def get_col_spec(self, **_: object) -> str:
        return "TEXT"


def test_a_column_of_an_unknown_type_needs_values() -> None:
    odd = Table("odd", MetaData(), Column("a", Odd, nullable=False), Column("b", types.Integer))

    def read(engine: Engine) -> list[Any]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(odd))]

    with pytest.raises(ValueError, match=r'pass values=\{"odd.a": \[...\]\}'):
        compare_results(read, read, models=[odd])
    report = compare_results(
        read, read, models=[odd], values={"odd.a": ["x", "y"]}, databases=8, growth=False
    )
    assert report.outcome is Outcome.PASSED


def test_a_given_database_must_be_empty_and_is_left_empty() -> None:
    engine = create_engine("sqlite://")

    @event.listens_for(engine, "connect")
    def enforce(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    report = compare_results(names, names_without_a, models=[Customer], engine=engine, databases=10)
    assert report.outcome is Outcome.FAILED
    with engine.begin() as connection:
        assert connection.execute(select(Customer)).all() == []
        connection.exec_driver_sql("INSERT INTO tenants VALUES (1, 'mine')")
    with pytest.raises(ValueError, match="table tenants holds 1 row, and it would be deleted"):
        compare_results(names, names, models=[Customer], engine=engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM tenants").scalar() == "mine"
    engine.dispose()


def first(session: Session, count: int) -> list[int]:
    return list(session.scalars(select(Order.id).order_by(Order.id).limit(count)))


def one_less(session: Session, count: int) -> list[int]:
    return first(session, min(count, 3))


def test_arguments_come_from_a_strategy_too() -> None:
    report = compare_results(
        first, one_less, models=[Order], arguments={"count": st.integers(1, 5)}
    )
    assert report.outcome is Outcome.FAILED
    assert report.arguments["count"] > 3
    assert len(report.inserts) == 4


def test_no_example_is_tried_twice_once_one_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    judge = Trial.judge

    def noted(trial: Trial, rows: Sequence[DrawnRow], arguments: Mapping[str, Any]) -> Judged:
        judged = judge(trial, rows, arguments)
        if tried or judged.difference is not None:
            tried.append(repr([*[(row.table.name, row.values) for row in rows], arguments]))
        return judged

    monkeypatch.setattr(Trial, "judge", noted)
    compare_results(first, one_less, models=[Order], arguments={"count": st.integers(1, 5)})
    assert len(set(tried)) == len(tried) > 3
