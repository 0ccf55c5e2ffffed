"""A company in memory: departments in a tree, people of several kinds, projects and skills."""

from typing import ClassVar

from sqlalchemy import Column, ForeignKey, Table
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from scenarios.pair import in_memory, numbered


class Base(DeclarativeBase):
    pass


class Department(Base):
    __tablename__ = "departments"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("departments.id"), index=True)
    parent: Mapped["Department | None"] = relationship(
        remote_side="Department.id", back_populates="children"
    )
    children: Mapped[list["Department"]] = relationship(back_populates="parent")
    people: Mapped[list["Person"]] = relationship(back_populates="department")


membership = Table(
    "membership",
    Base.metadata,
    Column("person_id", ForeignKey("people.id"), primary_key=True),
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
)


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    department_id: Mapped[int] = mapped_column(ForeignKey("departments.id"), index=True)
    department: Mapped[Department] = relationship(back_populates="people")
    badge: Mapped["Badge | None"] = relationship(back_populates="person")
    projects: Mapped[list["Project"]] = relationship(secondary=membership, back_populates="members")
    ratings: Mapped[list["Rating"]] = relationship(back_populates="person")
    rated: AssociationProxy[list["Skill"]] = association_proxy("ratings", "skill")
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Engineer(Person):
    __tablename__ = "engineers"
    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    language: Mapped[str]
    __mapper_args__: ClassVar = {"polymorphic_identity": "engineer"}


class Manager(Person):
    __tablename__ = "managers"
    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    budget: Mapped[int]
    __mapper_args__: ClassVar = {"polymorphic_identity": "manager"}


class Badge(Base):
    __tablename__ = "badges"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), unique=True)
    code: Mapped[str]
    person: Mapped[Person] = relationship(back_populates="badge")


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    members: Mapped[list[Person]] = relationship(secondary=membership, back_populates="projects")


class Skill(Base):
    __tablename__ = "skills"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Rating(Base):
    __tablename__ = "ratings"
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    skill_id: Mapped[int] = mapped_column(ForeignKey("skills.id"), primary_key=True)
    stars: Mapped[int]
    person: Mapped[Person] = relationship(back_populates="ratings")
    skill: Mapped[Skill] = relationship()


def _rows(people: int = 2, departments: int = 2, projects: int = 2, skills: int = 2):
    """`people` are spread over the departments, each is in two projects and has two skills.

    Department n is below department n - 1.
    """
    everybody = range(people)
    pairs = sorted({(p, (p + n) % projects) for p in everybody for n in range(2)})
    rated = sorted({(p, (p + n) % skills) for p in everybody for n in range(2)})
    return {
        Department.__table__: numbered(
            departments, name=lambda n: f"department {n}", parent_id=lambda n: n - 1 if n else None
        ),
        Person.__table__: numbered(
            people,
            name=lambda n: f"person {n}",
            kind=lambda n: "manager" if n % 2 else "engineer",
            department_id=lambda n: n % departments,
        ),
        Engineer.__table__: [{"id": n, "language": "Python"} for n in everybody if n % 2 == 0],
        Manager.__table__: [{"id": n, "budget": n} for n in everybody if n % 2],
        Badge.__table__: numbered(people, person_id=lambda n: n, code=lambda n: f"badge {n}"),
        Project.__table__: numbered(projects, title=lambda n: f"project {n}"),
        membership: [{"person_id": p, "project_id": q} for p, q in pairs],
        Skill.__table__: numbered(skills, name=lambda n: f"skill {n}"),
        Rating.__table__: [{"person_id": p, "skill_id": s, "stars": 3} for p, s in rated],
    }


company = in_memory(Base.metadata, _rows)
