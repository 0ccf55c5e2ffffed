"""Both sides of an association, and the association's own objects."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, joinedload, selectinload

from scenarios.company import Person, Project, Rating, Skill, company, membership
from scenarios.pair import Pair


def lazy_members(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [p.name for project in session.scalars(select(Project)) for p in project.members]


def selected_members(engine: Engine) -> list[str]:
    loaded = selectinload(Project.members)
    with Session(engine) as session:
        projects = session.scalars(select(Project).options(loaded))
        return [person.name for project in projects for person in project.members]


def lazy_projects(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [p.title for person in session.scalars(select(Person)) for p in person.projects]


def selected_projects(engine: Engine) -> list[str]:
    with Session(engine) as session:
        people = session.scalars(select(Person).options(selectinload(Person.projects)))
        return [project.title for person in people for project in person.projects]


def is_member(engine: Engine) -> list[int]:
    """A check of membership loads the whole collection of every project."""
    with Session(engine) as session:
        first = session.get(Person, 0)
        return [p.id for p in session.scalars(select(Project)) if first in p.members]


def is_member_in_sql(engine: Engine) -> list[int]:
    with Session(engine) as session:
        found = select(Project.id).where(Project.members.any(Person.id == 0))
        return list(session.scalars(found))


def through_a_proxy(engine: Engine) -> list[str]:
    """An association proxy hides two lazy loads: the ratings, and the skill of each."""
    with Session(engine) as session:
        return [skill.name for person in session.scalars(select(Person)) for skill in person.rated]


def proxy_loaded(engine: Engine) -> list[str]:
    loaded = selectinload(Person.ratings).joinedload(Rating.skill)
    with Session(engine) as session:
        people = session.scalars(select(Person).options(loaded))
        return [skill.name for person in people for skill in person.rated]


def skill_of_rating(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [rating.skill.name for rating in session.scalars(select(Rating))]


def skill_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        ratings = session.scalars(select(Rating).options(joinedload(Rating.skill)))
        return [rating.skill.name for rating in ratings]


def association_loop(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        people = connection.scalars(select(Person.id)).all()
        return [
            project
            for person in people
            for project in connection.scalars(
                select(membership.c.project_id).where(membership.c.person_id == person)
            )
        ]


def association_in_one(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(membership.c.project_id)))


def pairs_checked(engine: Engine) -> list[tuple[int, int]]:
    """A query for every person and skill: a product of two axes."""
    with engine.connect() as connection:
        people = connection.scalars(select(Person.id)).all()
        skills = connection.scalars(select(Skill.id)).all()
        return [
            (person, skill)
            for person in people
            for skill in skills
            if connection.scalar(
                select(Rating.stars).where(Rating.person_id == person, Rating.skill_id == skill)
            )
        ]


def pairs_in_one(engine: Engine) -> list[tuple[int, int]]:
    with engine.connect() as connection:
        rated = connection.execute(select(Rating.person_id, Rating.skill_id))
        return [(person, skill) for person, skill in rated]


PAIRS = (
    Pair(
        "members of projects",
        lazy_members,
        selected_members,
        ("queries grew with projects",),
        company,
        ("people", "projects"),
    ),
    Pair(
        "projects of people",
        lazy_projects,
        selected_projects,
        ("queries grew with people", "projects"),
        company,
        ("people", "projects"),
    ),
    Pair(
        "a check of membership",
        is_member,
        is_member_in_sql,
        ("queries grew with projects",),
        company,
        ("people", "projects"),
    ),
    Pair(
        "an association proxy",
        through_a_proxy,
        proxy_loaded,
        ("queries grew with people", "ratings: "),
        company,
        ("people", "skills"),
    ),
    Pair(
        "the far side of an association",
        skill_of_rating,
        skill_joined,
        ("queries grew with people and skills together", "skills: "),
        company,
        ("people", "skills", "departments"),
    ),
    Pair(
        "a loop over an association",
        association_loop,
        association_in_one,
        ("queries grew with people", "membership: 2, 8, 20"),
        company,
        ("people",),
    ),
    Pair(
        "a query for every pair",
        pairs_checked,
        pairs_in_one,
        ("queries grew with people", "queries grew with skills", "ratings: 4, 16, 40"),
        company,
        ("people", "skills"),
    ),
)
