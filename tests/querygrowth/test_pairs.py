"""The pairs of the corpus: a bad program fails in the expected words, its twin passes."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy.orm
from scenarios import billing, company, library, shop
from scenarios.pair import Pair, unique_names
from scenarios.topics import PAIRS
from sqlalchemy import select

from querygrowth.contracts.contract import QueryContract
from querygrowth.growth.measure import measure_growth
from querygrowth.growth.verdicts import judge_growth
from querygrowth.verdict import Verdict

# The loader options that a verdict advises, and what it says of the alias in them.
ADVISED = re.compile(
    r"add \.options\((.+)\) to the query(?: at .*?)?(?:, where alias is its (.+))?$", re.M
)
CLASSES = {
    mapper.class_.__name__: mapper.class_
    for base in (billing.Base, company.Base, library.Base, shop.Base)
    for mapper in base.registry.mappers
}


def assert_takes_options(options: str, made: str, names: Mapping[str, object]) -> None:
    """The advised code can be written: a query of the class at its beginning takes the options."""
    known = {**vars(sqlalchemy.orm), **CLASSES, **names}
    if made:
        known["alias"] = eval(made.replace(", ...", ', "*"'), known)
    first = re.search(r"\(+(?:\w+\()+(\w+)[.,)]", options)
    assert first, options
    query = select(known[first[1]]).options(*eval(options, known))
    assert str(query.compile())


@pytest.mark.parametrize("pair", [each for each in PAIRS if each.bad], ids=str)
def test_a_bad_program_fails_in_the_expected_words(pair: Pair) -> None:
    found = failed(pair, pair.bad, pair.contract)
    words = "\n\n".join(map(str, found))
    assert found, "nothing was found"
    assert [each for each in pair.words if not re.search(each, words)] == [], words
    for option, made in ADVISED.findall(words):
        assert_takes_options(f"({option},)", made, vars(sys.modules[pair.bad.__module__]))
    if pair.place:
        assert found[0].site is not None, words
        line = Path(found[0].site.path).read_text().splitlines()[found[0].site.line - 1]
        assert pair.place in line, words


@pytest.mark.parametrize("pair", [each for each in PAIRS if each.twin], ids=str)
def test_the_repaired_twin_is_silent(pair: Pair) -> None:
    found = failed(pair, pair.twin, pair.twin_contract or pair.contract)
    assert not found, "\n\n".join(map(str, found))


def test_every_pair_has_a_name_of_its_own_and_expects_words_of_a_bad_program() -> None:
    assert unique_names(PAIRS)
    assert [str(each) for each in PAIRS if each.bad and not each.words] == []


def failed(pair: Pair, action: object, contract: QueryContract | None) -> list[Verdict]:
    report = measure_growth(
        action,
        pair.populate,
        axes=pair.axes,
        scales=pair.scales,
        writes=pair.writes,
        work=pair.work,
    )
    return [each for each in judge_growth(report, contract) if each.failed]
