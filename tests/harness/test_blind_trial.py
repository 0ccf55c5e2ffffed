"""The blind trial: every faulty exporter is wrong on its legal run, every correct one is right."""

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from harness.fixtures.blind_trial.base import TableExporter
from harness.fixtures.blind_trial.legal_databases import Recording, open_database, usual
from harness.fixtures.blind_trial.legal_runs import LEGAL_RUNS, LegalRun
from harness.fixtures.blind_trial.observed import Factory, Outcome, export

from elspeth.core.landscape import LandscapeDB, LegacyLandscapeExporter
from harness.fixtures import blind_trial

TRIAL = tomllib.loads((Path(blind_trial.__file__).parent / "trial.toml").read_text())


def load(entry: dict[str, str]) -> Factory:
    module, _, name = entry["exporter"].partition(":")
    exporter: Factory = getattr(import_module(module), name)
    return exporter


CORRECT = [pytest.param(load(entry), id=entry["name"]) for entry in TRIAL["correct"]]
FAULTY = [pytest.param(run, id=run.name) for run in LEGAL_RUNS]


@dataclass(frozen=True)
class Recorded:
    """A recorded run, and what the control exports of it: unsigned and signed."""

    database: LandscapeDB
    run_id: str
    expected: tuple[Outcome, Outcome]

    @classmethod
    def of(cls, database: LandscapeDB, run_id: str) -> "Recorded":
        """Export a run with the control."""
        unsigned, signed = (
            export(LegacyLandscapeExporter, database, run_id, sign) for sign in (False, True)
        )
        return cls(database, run_id, (unsigned, signed))

    def differences(self, exporter: Factory) -> list[str]:
        """The first differences of an exporter from the control, unsigned and signed."""
        found = (
            expected.difference(export(exporter, self.database, self.run_id, sign))
            for sign, expected in zip((False, True), self.expected, strict=True)
        )
        return [each for each in found if each]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Recorded]]:
    """All legal runs and a larger one, each in its own database."""
    with ExitStack() as stack:
        opened = []
        for build in dict.fromkeys([*(legal.build for legal in LEGAL_RUNS), larger]):
            path = tmp_path_factory.mktemp("legal") / "audit.db"
            database = stack.enter_context(open_database(path))
            opened.append(Recorded.of(database, build(database)))
        yield opened


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A usual run."""
    with open_database(tmp_path_factory.mktemp("plain") / "audit.db") as database:
        yield Recorded.of(database, usual(database, "plain"))


def larger(database: LandscapeDB) -> str:
    """Record 450 rows, some with two tokens, and everything that usual runs have, in one run."""
    run = Recording(database)
    tokens = []
    for index in range(450):
        row_id = run.row()
        for _ in range(index % 3):
            tokens.append(run.token(row_id))
    for token_id in tokens[::4]:
        state_id = run.state(token_id)
        run.events(state_id, 1)
        run.calls(state_id, 2)
    for at in range(0, len(tokens), 40):
        run.artifact(state_id)
        run.batch(tokens[at : at + 25])
    usual(database, "beside")
    return run.finish()


@pytest.mark.parametrize("legal", FAULTY)
def test_a_faulty_exporter_is_wrong_on_its_legal_run_and_its_base_is_right(
    legal: LegalRun, tmp_path: Path
) -> None:
    built = tmp_path / "audit.db"
    with open_database(built) as db:
        run_id = legal.build(db)
    found = []
    for name, exporter in (("base", TableExporter), ("faulty", legal.faulty)):
        folder = tmp_path / name
        folder.mkdir()
        with open_database(Path(shutil.copy(built, folder))) as db:
            found.append(legal.show(exporter, db, run_id, folder) != "")
    assert found == [False, True]


@pytest.mark.parametrize("legal", FAULTY)
def test_a_faulty_exporter_is_right_on_a_usual_run(legal: LegalRun, plain: Recorded) -> None:
    assert plain.differences(legal.faulty) == []


@pytest.mark.parametrize("exporter", CORRECT)
def test_a_correct_exporter_equals_the_control_on_every_run(
    exporter: Factory, recorded: list[Recorded]
) -> None:
    for each in recorded:
        assert each.differences(exporter) == []


def test_the_list_names_every_faulty_exporter_once() -> None:
    assert [load(entry) for entry in TRIAL["faulty"]] == [legal.faulty for legal in LEGAL_RUNS]


def test_no_kind_of_fault_occurs_more_than_three_times() -> None:
    kinds = [entry["kind"] for entry in TRIAL["faulty"]]

    assert len(kinds) == 30
    assert len(set(kinds)) >= 10
    assert max(map(kinds.count, kinds)) <= 3
