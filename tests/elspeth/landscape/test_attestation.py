"""The chain of attestations beside an export: detected attacks, and states after a crash."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sample_run import EXPORTED_AT, KEY, SampleRun, record_sample_run
from shared_recordings import put_recording

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.attestation import (
    Attestation,
    AttestationError,
    AttestationReason,
    AttestationResult,
    Attester,
    HmacSigner,
    attestation_path,
    check_attestation,
    read_attestation,
)
from elspeth.core.landscape.counts import count_tables, count_tables_in_snapshot
from elspeth.core.landscape.output.atomic import ExportTargetError, UnconfirmedExportError
from elspeth.core.landscape.verification.verify import verify

SIGNER = HmacSigner(KEY)
ATTESTER = Attester(SIGNER)


@dataclass(frozen=True)
class Place:
    """A place to which a run is exported repeatedly, a second apart."""

    db: LandscapeDB
    path: Path
    seconds: Iterator[int]

    def clock(self) -> datetime:
        return EXPORTED_AT + timedelta(seconds=next(self.seconds))

    def export(
        self,
        *,
        attester: Attester | None = ATTESTER,
        run_id: str = "run-1",
        key: bytes | None = KEY,
    ) -> Attestation | None:
        pending = attester and attester.begin(self.path)
        exporter = LandscapeExporter(self.db, key, clock=self.clock)
        is_csv = self.path.suffix != ".jsonl"
        write = exporter.write_csv if is_csv else exporter.write_jsonl
        published = write(run_id, self.path, sign=key is not None)
        if pending is None:
            return None
        tables = partial(count_tables_in_snapshot, self.db, run_id)
        return pending.attest(published.fingerprint, run_id, key, tables)

    def attested(self) -> Attestation:
        attestation = self.export()
        assert attestation is not None
        return attestation

    def keep(self, name: str) -> "Kept":
        """Copy the export and its attestation to a folder of that name."""
        folder = self.path.parent / name
        folder.mkdir()
        kept = Kept(folder / self.path.name)
        copy(self.path, kept.export)
        copy(attestation_path(self.path), kept.attestation)
        return kept

    def check(
        self,
        *follows: Path,
        at_least: int | None = None,
        run_id: str | None = None,
        path: Path | None = None,
    ) -> AttestationResult:
        path = path or self.path
        found = verify(path, KEY, run_id=run_id) if path.exists() else None
        return check_attestation(path, (SIGNER,), found, at_least=at_least, follows=follows)


@dataclass(frozen=True)
class Kept:
    """An export and its attestation, copied away."""

    export: Path

    @property
    def attestation(self) -> Path:
        return attestation_path(self.export)


def copy(source: Path, target: Path) -> None:
    """Replace a file or a directory by a copy of another."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def reasons(attested: AttestationResult) -> list[AttestationReason]:
    return [defect.reason for defect in attested.defects]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[LandscapeDB]:
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        put_recording(db, record_two_runs)
        yield db


def record_two_runs(recorder: LandscapeRecorder) -> None:
    for run_id in ("run-1", "run-2"):
        record_sample_run(recorder, run_id)


@pytest.fixture(params=["run.jsonl", "run"])
def place(request: pytest.FixtureRequest, database: LandscapeDB, tmp_path: Path) -> Place:
    """A file, and a directory."""
    return Place(database, tmp_path / request.param, count())


@pytest.fixture
def file(database: LandscapeDB, tmp_path: Path) -> Place:
    return Place(database, tmp_path / "run.jsonl", count())


class TestSound:
    def test_it_states_the_facts_of_the_export(self, place: Place) -> None:
        attestation = place.attested()
        stated = attestation.predicate
        found = verify(place.path, KEY)
        assert place.check() == AttestationResult(attestation, ())
        assert attestation.path == attestation_path(place.path)
        assert (stated.sequence, stated.previous, stated.run_id) == (1, None, "run-1")
        assert stated.format == ("csv" if place.path.is_dir() else "jsonl")
        assert stated.record_counts == found.counts
        assert stated.table_counts["tokens"] == SampleRun("run-1").tokens
        assert found.manifest is not None
        assert stated.manifest_hash == found.manifest["final_hash"]
        assert stated.exported_at == found.manifest["exported_at"]

    def test_attesting_does_not_change_the_bytes_of_the_export(self, place: Place) -> None:
        place.attested()
        kept = place.keep("kept")
        same_clock = replace(place, seconds=count())
        same_clock.export(attester=None)
        assert verify(place.path, KEY).ok
        names = [kept.export] if kept.export.is_file() else sorted(kept.export.iterdir())
        for name in names:
            again = place.path / name.name if place.path.is_dir() else place.path
            assert again.read_bytes() == name.read_bytes()

    def test_an_attestation_names_the_previous_one(self, place: Place) -> None:
        first = place.attested()
        kept = place.keep("kept")
        second = place.attested()
        assert (second.predicate.sequence, second.predicate.previous) == (2, first.digest)
        assert place.check(kept.attestation, at_least=2).ok
        assert place.check(attestation_path(place.path)).ok

    def test_an_unsigned_export_is_attested_too(self, file: Place) -> None:
        attestation = file.export(key=None)
        assert attestation is not None
        assert (attestation.predicate.manifest_hash, attestation.exported_at) == (None, None)
        found = verify(file.path, None, allow_unsigned=True)
        assert check_attestation(file.path, (SIGNER,), found).ok

    def test_another_run_in_the_same_place_continues_the_chain(self, file: Place) -> None:
        file.attested()
        kept = file.keep("kept")
        second = file.export(run_id="run-2")
        assert second is not None
        assert (second.predicate.run_id, second.predicate.sequence) == ("run-2", 2)
        assert file.check(kept.attestation).ok

    def test_the_table_counts_include_tables_that_are_not_exported(
        self, database: LandscapeDB
    ) -> None:
        with database.connection() as connection:
            counted = count_tables(connection, "run-1")
        assert set(counted) >= {"runs", "tokens", "validation_errors", "batch_outputs"}
        assert len(counted) == 16
        assert counted["batch_outputs"] == 0


class TestDetected:
    def test_an_older_export_put_back(self, place: Place) -> None:
        place.attested()
        old = place.keep("old")
        place.attested()
        copy(old.export, place.path)
        assert reasons(place.check()) == [AttestationReason.ROLLED_BACK]

    def test_an_older_export_put_back_with_its_attestation_given_a_kept_number(
        self, place: Place
    ) -> None:
        place.attested()
        old = place.keep("old")
        place.attested()
        new = place.keep("new")
        copy(old.export, place.path)
        copy(old.attestation, attestation_path(place.path))
        assert place.check().ok, "by itself it was sound, and still is"
        assert reasons(place.check(at_least=2)) == [AttestationReason.ROLLED_BACK]
        assert reasons(place.check(new.attestation)) == [AttestationReason.ROLLED_BACK]

    def test_a_missing_export(self, place: Place) -> None:
        place.attested()
        copy(place.path, place.path.with_name("away"))
        if place.path.is_dir():
            shutil.rmtree(place.path)
        else:
            place.path.unlink()
        assert reasons(place.check()) == [AttestationReason.MISSING_EXPORT]

    def test_a_missing_attestation(self, place: Place) -> None:
        place.attested()
        attestation_path(place.path).unlink()
        assert reasons(place.check()) == [AttestationReason.NO_ATTESTATION]

    def test_a_foreign_file(self, place: Place) -> None:
        place.attested()
        victim = place.path / "run.csv" if place.path.is_dir() else place.path
        victim.write_bytes(b"something else\n")
        assert reasons(place.check()) == [AttestationReason.FOREIGN_EXPORT]

    def test_an_additional_file_in_a_directory(self, database: LandscapeDB, tmp_path: Path) -> None:
        place = Place(database, tmp_path / "run", count())
        place.attested()
        (place.path / "notes.txt").touch()
        assert AttestationReason.FOREIGN_EXPORT in reasons(place.check())
        (place.path / "notes.txt").unlink()
        (place.path / "folder").mkdir()
        assert AttestationReason.FOREIGN_EXPORT in reasons(place.check())

    def test_a_link_in_place_of_the_export(self, file: Place) -> None:
        file.attested()
        file.path.rename(file.path.with_name("away"))
        file.path.symlink_to("away")
        assert reasons(file.check()) == [AttestationReason.FOREIGN_EXPORT]

    def test_one_changed_byte_of_the_export(self, file: Place) -> None:
        file.attested()
        content = bytearray(file.path.read_bytes())
        content[100] ^= 1
        file.path.write_bytes(content)
        assert reasons(file.check()) == [AttestationReason.FOREIGN_EXPORT]

    def test_attestations_swapped_between_two_places(self, file: Place) -> None:
        other = replace(file, path=file.path.with_name("other.jsonl"))
        file.attested()
        other.attested()
        mine, theirs = attestation_path(file.path), attestation_path(other.path)
        mine_bytes, their_bytes = mine.read_bytes(), theirs.read_bytes()
        mine.write_bytes(their_bytes)
        theirs.write_bytes(mine_bytes)
        (defect,) = file.check().defects
        assert defect.reason is AttestationReason.FOREIGN_EXPORT
        assert "not 'other.jsonl', whose attestation stands beside it" in defect.message
        assert reasons(other.check()) == [AttestationReason.FOREIGN_EXPORT]
        with pytest.raises(AttestationError, match=r"attestation of 'other.jsonl', another place"):
            file.export()

    def test_an_attestation_made_for_another_place_is_not_accepted(self, file: Place) -> None:
        file.attested()
        copy(file.path, file.path.with_name("copy.jsonl"))
        copy(attestation_path(file.path), file.path.with_name("copy.jsonl.attestation.json"))
        (defect,) = file.check(path=file.path.with_name("copy.jsonl")).defects
        assert defect.reason is AttestationReason.FOREIGN_EXPORT
        assert f"made for {file.path.name!r}, another place than 'copy.jsonl'" in defect.message
        assert file.check().ok

    def test_a_gap_in_the_sequence_until_it_is_filled(self, file: Place) -> None:
        kept = []
        for number in range(4):
            file.attested()
            kept.append(file.keep(str(number)).attestation)
        gap = file.check(kept[0])
        assert reasons(gap) == [AttestationReason.GAP]
        assert "without number 2 to 3" in gap.defects[0].message
        assert reasons(file.check(kept[0], kept[2])) == [AttestationReason.GAP]
        assert file.check(*kept).ok
        assert file.check(kept[2], kept[0], kept[1]).ok, "in any order"

    def test_a_chain_begun_again_contradicts_the_known_one(self, file: Place) -> None:
        file.attested()
        known = file.keep("known")
        attestation_path(file.path).unlink()
        file.attested()
        assert reasons(file.check(known.attestation)) == [AttestationReason.CHAIN]
        file.attested()
        assert reasons(file.check(known.attestation)) == [AttestationReason.CHAIN]

    def test_a_known_attestation_of_another_place(self, file: Place) -> None:
        other = replace(file, path=file.path.with_name("other.jsonl"))
        other.attested()
        file.attested()
        assert reasons(file.check(attestation_path(other.path))) == [AttestationReason.CHAIN]

    def test_a_kept_attestation_that_is_invalid(self, file: Place) -> None:
        file.attested()
        kept = file.keep("kept").attestation
        kept.write_bytes(kept.read_bytes()[:-2])
        assert reasons(file.check(kept)) == [AttestationReason.MALFORMED]

    @pytest.mark.parametrize("kind", ["link", "directory", "large"])
    def test_an_attestation_that_is_not_a_small_file(self, file: Place, kind: str) -> None:
        file.attested()
        attestation = attestation_path(file.path)
        away = attestation.rename(attestation.with_name("away"))
        if kind == "link":
            attestation.symlink_to(away)
        elif kind == "directory":
            attestation.mkdir()
        else:
            attestation.write_bytes(b" " * 70_000)
        assert reasons(file.check()) == [AttestationReason.MALFORMED]

    def test_a_statement_that_contradicts_the_attested_bytes(
        self, file: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A holder of the key can state anything; a contradiction to the file is found."""
        file.attested()
        found = replace(verify(file.path, KEY), counts={"run": 1}, run_id="run-2")
        attested = check_attestation(file.path, (SIGNER,), found)
        assert reasons(attested) == [AttestationReason.CONTENT, AttestationReason.CONTENT]


class TestCutOff:
    """Ended between the export and its attestation: a valid state, not reported as forged."""

    def test_the_first_export_without_attestation(self, place: Place) -> None:
        place.export(attester=None)
        assert reasons(place.check()) == [AttestationReason.NO_ATTESTATION]

    def test_a_later_export_without_attestation(self, place: Place) -> None:
        place.attested()
        place.export(attester=None)
        (defect,) = place.check().defects
        assert defect.reason is AttestationReason.NOT_ATTESTED
        assert "cut off before it was attested" in defect.message

    def test_the_next_export_continues_the_chain(self, place: Place) -> None:
        place.attested()
        kept = place.keep("kept")
        place.export(attester=None)
        assert place.attested().predicate.sequence == 2
        assert place.check(kept.attestation).ok

    def test_an_export_can_be_attested_afterwards(self, place: Place) -> None:
        first = place.attested()
        place.export(attester=None)
        tables = partial(count_tables_in_snapshot, place.db, "run-1")
        second = ATTESTER.begin(place.path).attest_existing("run-1", KEY, tables)
        assert second.predicate.previous == first.digest
        assert place.check().ok
        again = ATTESTER.begin(place.path).attest_existing("run-1", KEY, tables)
        assert again == second, "it is attested already"

    def test_an_older_export_put_back_is_not_attested_afterwards(self, place: Place) -> None:
        place.attested()
        old = place.keep("old")
        place.attested()
        copy(old.export, place.path)
        tables = partial(count_tables_in_snapshot, place.db, "run-1")
        with pytest.raises(AttestationError, match="older than the export attested last"):
            ATTESTER.begin(place.path).attest_existing("run-1", KEY, tables)

    def test_the_age_of_an_unsigned_export_is_unknown(self, file: Place) -> None:
        file.export(key=None)
        file.export(key=None, run_id="run-2", attester=None)
        tables = partial(count_tables_in_snapshot, file.db, "run-2")
        with pytest.raises(AttestationError, match="no manifest tells"):
            ATTESTER.begin(file.path).attest_existing("run-2", None, tables)


class TestRefused:
    """Before the export: nothing is changed."""

    def refusal(self, file: Place, attester: Attester = ATTESTER) -> str:
        before = file.path.read_bytes() if file.path.exists() else None
        with pytest.raises((AttestationError, ExportTargetError)) as caught:
            file.export(attester=attester)
        assert (file.path.read_bytes() if file.path.exists() else None) == before
        return str(caught.value)

    def test_a_chain_that_does_not_verify(self, file: Place) -> None:
        file.attested()
        attestation = attestation_path(file.path)
        attestation.write_bytes(attestation.read_bytes().replace(b"A", b"B", 1))
        said = self.refusal(file)
        assert "is not valid" in said
        assert "begin a new chain without it" in said

    def test_a_chain_under_another_key_unless_that_key_is_given(self, file: Place) -> None:
        file.attested()
        renewed = HmacSigner(b"j" * 32)
        assert "UNKNOWN_KEY" in self.refusal(file, Attester(renewed))
        second = file.export(attester=Attester(renewed, earlier_keys=(SIGNER,)))
        assert second is not None
        assert (second.predicate.sequence, second.key_id) == (2, renewed.key_id)

    def test_a_name_that_is_too_long_with_the_suffix(self, file: Place) -> None:
        long = replace(file, path=file.path.with_name("r" * 240))
        assert "longer than 255 bytes" in self.refusal(long)

    def test_a_name_that_is_not_utf8(self, file: Place) -> None:
        assert "UTF-8" in self.refusal(replace(file, path=file.path.with_name("\udcff.jsonl")))


class TestUnconfirmed:
    """After the export: it is in place, and the error names it as not attested."""

    def test_a_run_that_was_written_to_meanwhile(self, file: Place) -> None:
        pending = ATTESTER.begin(file.path)
        exporter = LandscapeExporter(file.db, KEY)
        published = exporter.write_jsonl("run-1", file.path, sign=True)
        node = next(r for r in exporter.export_run("run-1") if r["record_type"] == "node")
        LandscapeRecorder(file.db).create_row("run-1", node["node_id"], 99, {})
        tables = partial(count_tables_in_snapshot, file.db, "run-1")
        with pytest.raises(UnconfirmedExportError, match="4 records of type row, the database 5"):
            pending.attest(published.fingerprint, "run-1", KEY, tables)
        assert verify(file.path, KEY).ok
        assert not attestation_path(file.path).exists()

    def test_an_export_that_another_overtook(self, file: Place) -> None:
        pending = ATTESTER.begin(file.path)
        exporter = LandscapeExporter(file.db, KEY, clock=file.clock)
        published = exporter.write_jsonl("run-1", file.path, sign=True)
        other = file.attested()
        tables = partial(count_tables_in_snapshot, file.db, "run-1")
        with pytest.raises(UnconfirmedExportError, match="attested meanwhile"):
            pending.attest(published.fingerprint, "run-1", KEY, tables)
        assert read_attestation(attestation_path(file.path), (SIGNER,)) == other

    def test_an_export_that_was_replaced_before_it_was_attested(self, file: Place) -> None:
        pending = ATTESTER.begin(file.path)
        exporter = LandscapeExporter(file.db, KEY, clock=file.clock)
        published = exporter.write_jsonl("run-1", file.path, sign=True)
        file.export(attester=None)
        tables = partial(count_tables_in_snapshot, file.db, "run-1")
        with pytest.raises(UnconfirmedExportError, match="no longer those that were written"):
            pending.attest(published.fingerprint, "run-1", KEY, tables)

    def test_a_run_whose_id_is_too_long(self, file: Place) -> None:
        LandscapeRecorder(file.db).begin_run({}, "v1", run_id="r" * 60_000)
        with pytest.raises(UnconfirmedExportError, match="an id that is too long to attest"):
            file.export(run_id="r" * 60_000)
