"""Trees and kinds: rows that refer to their own table, and classes that inherit."""

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, aliased, selectin_polymorphic, selectinload, with_polymorphic

from scenarios.company import Department, Engineer, Manager, Person, company
from scenarios.pair import Pair


def path_to_the_root(engine: Engine) -> list[str]:
    """Department n lies below department n - 1: the path is as long as there are departments."""
    with engine.connect() as connection:
        deepest = select(Department.id).order_by(Department.id.desc()).limit(1)
        number, names = connection.scalar(deepest), []
        while number is not None:
            row = connection.execute(
                select(Department.name, Department.parent_id).where(Department.id == number)
            ).one()
            names.append(row.name)
            number = row.parent_id
        return names


def path_by_recursion(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        deepest = select(func.max(Department.id)).scalar_subquery()
        path = (
            select(Department.id, Department.name, Department.parent_id)
            .where(Department.id == deepest)
            .cte(recursive=True)
        )
        above = aliased(Department)
        path = path.union_all(
            select(above.id, above.name, above.parent_id).where(above.id == path.c.parent_id)
        )
        return list(connection.scalars(select(path.c.name)))


def lazy_path(engine: Engine) -> list[str]:
    with Session(engine) as session:
        department = session.scalars(select(Department).order_by(Department.id.desc())).first()
        names = []
        while department is not None:
            session.expire(department)
            names.append(department.name)
            department = department.parent
        return names


def children_recursed(engine: Engine) -> list[str]:
    def below(department: Department) -> list[str]:
        return [department.name, *(name for child in department.children for name in below(child))]

    with Session(engine) as session:
        return below(session.get(Department, 0))


def tree_in_one(engine: Engine) -> list[str]:
    with Session(engine) as session:
        departments = session.scalars(select(Department)).all()
        children: dict[int | None, list[Department]] = {}
        for department in departments:
            children.setdefault(department.parent_id, []).append(department)
        names, waiting = [], [*children[None]]
        while waiting:
            department = waiting.pop()
            names.append(department.name)
            waiting += children.get(department.id, [])
        return names


def level_by_level(engine: Engine) -> list[str]:
    """One query for each level of the tree, which is a query for each department of a chain."""
    with engine.connect() as connection:
        level, names = [0], []
        while level:
            rows = connection.execute(
                select(Department.id, Department.name).where(Department.parent_id.in_(level))
            ).all()
            names += [row.name for row in rows]
            level = [row.id for row in rows]
        return names


def columns_of_kinds(engine: Engine) -> list[object]:
    with Session(engine) as session:
        return [
            person.language if isinstance(person, Engineer) else person.budget
            for person in session.scalars(select(Person))
            if isinstance(person, Engineer | Manager)
        ]


def columns_selected(engine: Engine) -> list[object]:
    loaded = selectin_polymorphic(Person, [Engineer, Manager])
    with Session(engine) as session:
        return [
            person.language if isinstance(person, Engineer) else person.budget
            for person in session.scalars(select(Person).options(loaded))
            if isinstance(person, Engineer | Manager)
        ]


def one_kind(engine: Engine) -> list[str]:
    with Session(engine) as session:
        people = session.scalars(select(Person).where(Person.kind == "engineer"))
        return [person.language for person in people if isinstance(person, Engineer)]


def one_kind_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [person.language for person in session.scalars(select(Engineer))]


def badges_of_kinds(engine: Engine) -> list[str]:
    with Session(engine) as session:
        every = with_polymorphic(Person, [Engineer, Manager])
        return [p.badge.code for p in session.scalars(select(every)) if p.badge]


def badges_loaded(engine: Engine) -> list[str]:
    with Session(engine) as session:
        every = with_polymorphic(Person, [Engineer, Manager])
        people = session.scalars(select(every).options(selectinload(every.badge)))
        return [person.badge.code for person in people if person.badge]


def got_as_a_subclass(engine: Engine) -> list[int]:
    with Session(engine) as session:
        managers = session.scalars(select(Manager.id)).all()
        get_one = getattr(session, "get_one", session.get)  # new in SQLAlchemy 2.0.22
        return [get_one(Manager, number).budget for number in managers]


def budgets(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return list(session.scalars(select(Manager.budget)))


DEPTH = ("queries grew with departments", "departments: 2, 8, 20")

PAIRS = (
    Pair(
        "a path to the root", path_to_the_root, path_by_recursion, DEPTH, company, ("departments",)
    ),
    Pair(
        "a lazy path",
        lazy_path,
        path_by_recursion,
        ("queries grew with departments",),
        company,
        ("departments",),
    ),
    Pair(
        "children by recursion",
        children_recursed,
        tree_in_one,
        ("queries grew with departments", "departments: 2, 8, 20"),
        company,
        ("departments",),
    ),
    Pair(
        "a tree level by level",
        level_by_level,
        tree_in_one,
        ("queries grew with departments", "departments: 2, 8, 20"),
        company,
        ("departments",),
    ),
    Pair(
        "columns of kinds",
        columns_of_kinds,
        columns_selected,
        ("queries grew with people", "engineers: ", "managers: "),
        company,
        ("people",),
    ),
    Pair(
        "columns of one kind",
        one_kind,
        one_kind_joined,
        ("queries grew with people", "engineers: "),
        company,
        ("people",),
    ),
    Pair(
        "badges of every kind",
        badges_of_kinds,
        badges_loaded,
        ("queries grew with people", "badges: "),
        company,
        ("people",),
    ),
    Pair(
        "got as a subclass",
        got_as_a_subclass,
        budgets,
        ("queries grew with people", "a loop that queries people"),
        company,
        ("people",),
    ),
)
