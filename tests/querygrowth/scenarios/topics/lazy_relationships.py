"""Relationships that are loaded lazily: the failure names them, and the loader option to add."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import (
    Session,
    aliased,
    contains_eager,
    defaultload,
    immediateload,
    joinedload,
    lazyload,
    raiseload,
    selectin_polymorphic,
    selectinload,
    with_polymorphic,
)

from scenarios.library import Author, Award, Book, Page, Person, Profile, Reader, Shelf, grows


def author_of_each_book(engine: Engine) -> list[str]:
    with Session(engine) as session:
        books = session.scalars(select(Book)).all()
        return [book.author.name for book in books]  # lazy author


def joined_authors(engine: Engine) -> list[str]:
    with Session(engine) as session:
        books = session.scalars(select(Book).options(joinedload(Book.author))).all()
        return [book.author.name for book in books]


def author_through_an_alias(engine: Engine) -> list[str]:
    with Session(engine) as session:
        other = aliased(Book)
        return [book.author.name for book in session.scalars(select(other))]  # through an alias


def joined_through_an_alias(engine: Engine) -> list[str]:
    with Session(engine) as session:
        other = aliased(Book)
        books = session.scalars(select(other).options(joinedload(other.author)))
        return [book.author.name for book in books]


def diary_through_an_alias(engine: Engine) -> list[str]:
    with Session(engine) as session:
        other = aliased(Author)
        authors = session.scalars(select(other).options(selectinload(other.books)))
        return [author.biography for author in authors]  # deferred in an alias


def chapters_behind_an_alias(engine: Engine) -> int:
    with Session(engine) as session:
        other = aliased(Author)
        authors = session.scalars(select(other).options(selectinload(other.books))).all()
        return sum(len(book.chapters) for a in authors for book in a.books)  # behind an alias


def chapters_loaded_behind_an_alias(engine: Engine) -> int:
    with Session(engine) as session:
        other = aliased(Author)
        books = selectinload(other.books).selectinload(Book.chapters)
        authors = session.scalars(select(other).options(books)).all()
        return sum(len(book.chapters) for a in authors for book in a.books)


def favourites_of_every_kind(engine: Engine) -> list[str]:
    with Session(engine) as session:
        every = with_polymorphic(Person, [Reader])
        return [person.favourite.name for person in session.scalars(select(every))]  # every kind


def favourites_of_every_kind_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        every = with_polymorphic(Person, [Reader])
        people = session.scalars(select(every).options(joinedload(every.Reader.favourite)))
        return [person.favourite.name for person in people]


def books_of_each_author(engine: Engine) -> int:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        return sum(len(author.books) for author in authors)  # lazy books


def selected_books(engine: Engine) -> int:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(selectinload(Author.books))).all()
        return sum(len(author.books) for author in authors)


def tags_of_each_book(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [tag.name for book in session.query(Book).all() for tag in book.tags]


def selected_tags(engine: Engine) -> list[str]:
    with Session(engine) as session:
        books = session.query(Book).options(selectinload(Book.tags)).all()
        return [tag.name for book in books for tag in book.tags]


def profile_of_each_author(engine: Engine) -> list[str]:
    with Session(engine) as session:
        found = []
        for author in session.scalars(select(Author)).all():
            if author.profile is not None:  # lazy profile
                found.append(author.profile.text)
        return found


def joined_profiles(engine: Engine) -> list[str]:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(joinedload(Author.profile)))
        return [author.profile.text for author in authors if author.profile is not None]


def chapters_through_lazy_books(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        books = [book for author in authors for book in author.books]
        return [chapter.id for book in books for chapter in book.chapters]  # lazy chapters


def both_levels_selected(engine: Engine) -> list[int]:
    both = selectinload(Author.books).selectinload(Book.chapters)
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(both)).all()
        return [c.id for author in authors for book in author.books for c in book.chapters]


def chapters_through_selected_books(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(selectinload(Author.books))).all()
        books = [book for author in authors for book in author.books]
        return [chapter.id for book in books for chapter in book.chapters]  # second level


def chapters_through_joined_books(engine: Engine) -> list[int]:
    with Session(engine) as session:
        found = session.scalars(select(Author).options(joinedload(Author.books))).unique()
        books = [book for author in found for book in author.books]
        return [chapter.id for book in books for chapter in book.chapters]  # below a join


def chapters_below_a_join(engine: Engine) -> list[int]:
    options = (joinedload(Author.books), defaultload(Author.books).selectinload(Book.chapters))
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(*options)).unique()
        return [c.id for author in authors for book in author.books for c in book.chapters]


def chapters_of_contained_books(engine: Engine) -> list[int]:
    books = select(Author).join(Author.books).options(contains_eager(Author.books))
    with Session(engine) as session:
        authors = session.scalars(books).unique().all()
        return [c.id for author in authors for book in author.books for c in book.chapters]


def relationship_of_two_entities(engine: Engine) -> list[str]:
    with Session(engine) as session:
        rows = session.execute(select(Profile, Book).where(Book.author_id == Profile.author_id))
        return [book.tags[0].name for _, book in rows.all()]


def ancestors(engine: Engine) -> int:
    with Session(engine) as session:
        shelf = session.scalars(select(Shelf).order_by(Shelf.id.desc()).limit(1)).one()
        above = 0
        while shelf.parent is not None:  # upwards
            above, shelf = above + 1, shelf.parent
        return above


def descendants(engine: Engine) -> list[int]:
    def below(shelf: Shelf) -> list[int]:
        return [shelf.id, *(n for child in shelf.children for n in below(child))]  # downwards

    with Session(engine) as session:
        return below(session.get(Shelf, 0))


def all_shelves_at_once(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [shelf.id for shelf in session.scalars(select(Shelf))]


def pages_of_each_author(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        return [page.id for author in authors for page in author.pages]  # dynamic


def pages_of_all_authors(engine: Engine) -> list[int]:
    with Session(engine) as session:
        authors = session.scalars(select(Author)).all()
        ids = [author.id for author in authors]
        return [page.id for page in session.scalars(select(Page).where(Page.author_id.in_(ids)))]


def page_counts(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [author.pages.count() for author in session.scalars(select(Author)).all()]


def awards_of_each_author(engine: Engine) -> list[int]:
    with Session(engine) as session:
        found = []
        for author in session.scalars(select(Author)).all():
            found += [award.id for award in session.scalars(author.awards.select())]  # write-only
        return found


def all_awards(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [award.id for award in session.scalars(select(Award))]


def favourite_of_each_reader(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [reader.favourite.name for reader in session.scalars(select(Reader)).all()]


def joined_favourites(engine: Engine) -> list[str]:
    with Session(engine) as session:
        readers = session.scalars(select(Reader).options(joinedload(Reader.favourite)))
        return [reader.favourite.name for reader in readers]


def favourite_of_polymorphic_readers(engine: Engine) -> list[str]:
    people = select(Person).options(selectin_polymorphic(Person, [Reader]))
    with Session(engine) as session:
        found = session.scalars(people).all()
        return [person.favourite.name for person in found]  # of a subclass


def relationship_behind_a_property(engine: Engine) -> list[list[str]]:
    with Session(engine) as session:
        return [author.titles for author in session.scalars(select(Author)).all()]


def titles_of_selected_books(engine: Engine) -> list[list[str]]:
    with Session(engine) as session:
        authors = session.scalars(select(Author).options(selectinload(Author.books)))
        return [author.titles for author in authors]


def load_at_once_for_each(engine: Engine) -> int:
    """The option immediateload() sends what a lazy load sends, but earlier."""
    with Session(engine) as session:
        found = session.scalars(select(Author).options(immediateload(Author.books)))
        return len(found.all())  # immediately


def only_authors(engine: Engine) -> int:
    with Session(engine) as session:
        return len(session.scalars(select(Author).options(raiseload(Author.books))).all())


def load_turned_lazy(engine: Engine) -> list[str]:
    with Session(engine) as session:
        books = session.scalars(select(Book).options(lazyload(Book.author))).all()
        return [book.author.name for book in books]  # turned lazy


def relationship_of_an_alias(engine: Engine) -> list[str]:
    other = aliased(Book)
    with Session(engine) as session:
        books = session.scalars(select(other).order_by(other.id)).all()
        return [book.author.name for book in books]  # of an alias


def backwards_from_each_profile(engine: Engine) -> list[str]:
    with Session(engine) as session:
        profiles = session.scalars(select(Profile)).all()
        return [profile.author.name for profile in profiles]  # backwards


def authors_of_profiles(engine: Engine) -> list[str]:
    with Session(engine) as session:
        profiles = session.scalars(select(Profile).options(joinedload(Profile.author)))
        return [profile.author.name for profile in profiles]


def parents_from_elsewhere(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return names_of(find_books(session))


def find_books(session: Session) -> list[Book]:
    return list(session.scalars(select(Book)))  # finds the parents


def names_of(books: list[Book]) -> list[str]:
    return [book.author.name for book in books]  # reads them


PAIRS = (
    grows(
        "many to one through an alias",
        author_through_an_alias,
        joined_through_an_alias,
        "# through an alias",
        "relationship: Book.author",
        ".options(joinedload(alias.author)) to the query at ",
        ", where alias is its aliased(Book)",
    ),
    grows(
        "a deferred column of an alias",
        diary_through_an_alias,
        None,
        "# deferred in an alias",
        ".options(undefer(alias.biography)) to the query at ",
        ", where alias is its aliased(Author)",
    ),
    grows(
        "a collection behind an alias",
        chapters_behind_an_alias,
        chapters_loaded_behind_an_alias,
        "# behind an alias",
        ".options(selectinload(alias.books).selectinload(Book.chapters)) to the query at ",
        ", where alias is its aliased(Author)",
    ),
    grows(
        "a relationship of a subclass through with_polymorphic",
        favourites_of_every_kind,
        favourites_of_every_kind_joined,
        "# every kind",
        ".options(joinedload(alias.Reader.favourite)) to the query at ",
        ", where alias is its with_polymorphic(Person, ...)",
    ),
    grows(
        "the author of each book",
        author_of_each_book,
        joined_authors,
        "# lazy author",
        "relationship: Book.author",
        "Book loaded at: ",
        "add .options(joinedload(Book.author)) to the query at ",
        "in author_of_each_book",
    ),
    grows(
        "the books of each author",
        books_of_each_author,
        selected_books,
        "# lazy books",
        "relationship: Author.books",
        ".options(selectinload(Author.books))",
    ),
    grows(
        "the tags of each book",
        tags_of_each_book,
        selected_tags,
        "for tag in book.tags",
        "relationship: Book.tags",
        ".options(selectinload(Book.tags))",
    ),
    grows(
        "the profile of each author",
        profile_of_each_author,
        joined_profiles,
        "# lazy profile",
        "relationship: Author.profile",
        ".options(joinedload(Author.profile))",
    ),
    grows(
        "chapters through lazy books",
        chapters_through_lazy_books,
        both_levels_selected,
        "# lazy chapters",
        "relationship: Book.chapters",
        "relationship: Author.books",
        ".options(selectinload(Author.books).selectinload(Book.chapters))",
    ),
    grows(
        "chapters through selected books",
        chapters_through_selected_books,
        None,
        "# second level",
        ".options(selectinload(Author.books).selectinload(Book.chapters))",
    ),
    grows(
        "chapters through joined books",
        chapters_through_joined_books,
        chapters_below_a_join,
        "# below a join",
        ".options(defaultload(Author.books).selectinload(Book.chapters))",
    ),
    grows(
        "chapters of contained books",
        chapters_of_contained_books,
        None,
        "for c in book.chapters",
        ".options(defaultload(Author.books).selectinload(Book.chapters))",
    ),
    grows(
        "a relationship of two entities",
        relationship_of_two_entities,
        None,
        "book.tags[0].name for _, book",
        "Book loaded at: ",
        ".options(selectinload(Book.tags))",
    ),
    grows(
        "the shelves above a shelf",
        ancestors,
        all_shelves_at_once,
        "# upwards",
        "relationship: Shelf.parent",
        ".options(selectinload(Shelf.parent, recursion_depth=-1))",
    ),
    grows(
        "the shelves on a shelf",
        descendants,
        None,
        "# downwards",
        "relationship: Shelf.children",
        ".options(selectinload(Shelf.children, recursion_depth=-1))",
    ),
    grows(
        "a dynamic relationship",
        pages_of_each_author,
        pages_of_all_authors,
        "# dynamic",
        "relationship: Author.pages",
        "Page.author_id.in_(...)",
        ".options(selectinload(Author.pages))",
    ),
    grows(
        "the count of a dynamic relationship",
        page_counts,
        None,
        "author.pages.count()",
        "pages",
        "GROUP BY",
    ),
    grows(
        "a write-only relationship",
        awards_of_each_author,
        all_awards,
        "# write-only",
        "relationship: Author.awards",
        "Award.author_id.in_(...)",
    ),
    grows(
        "a relationship of a subclass",
        favourite_of_each_reader,
        joined_favourites,
        "reader.favourite.name for reader",
        "relationship: Reader.favourite",
        ".options(joinedload(Reader.favourite))",
    ),
    grows(
        "a relationship of a subclass that a polymorphic query loaded",
        favourite_of_polymorphic_readers,
        None,
        "# of a subclass",
        "Reader loaded at: ",
        ".options(joinedload(Reader.favourite))",
    ),
    grows(
        "a relationship behind a property",
        relationship_behind_a_property,
        titles_of_selected_books,
        "[book.title for book in self.books]",
        "relationship: Author.books",
        "called by: ",
        "in relationship_behind_a_property",
    ),
    grows(
        "an immediate load",
        load_at_once_for_each,
        only_authors,
        "# immediately",
        "relationship: Author.books",
        ".options(selectinload(Author.books))",
    ),
    grows(
        "an option that makes a load lazy",
        load_turned_lazy,
        None,
        "# turned lazy",
        "relationship: Book.author",
        ".options(joinedload(Book.author))",
    ),
    grows(
        "a relationship of an alias",
        relationship_of_an_alias,
        None,
        "# of an alias",
        "relationship: Book.author",
        "Book loaded at: ",
    ),
    grows(
        "the way back of a one to one",
        backwards_from_each_profile,
        authors_of_profiles,
        "# backwards",
        "relationship: Profile.author",
        ".options(joinedload(Profile.author))",
    ),
    grows(
        "parents that another function loaded",
        parents_from_elsewhere,
        None,
        "# reads them",
        "Book loaded at: ",
        "in find_books",
        "called by: ",
    ),
)
