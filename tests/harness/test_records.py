"""Records in a comparison: their types, and the run that a record belongs to."""

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.compare.records import run_lookup
from harness.generate.generator import generate_run
from harness.generate.presets import preset


def test_every_record_belongs_to_the_run_that_exports_it(db: LandscapeDB) -> None:
    spec = preset("tiny", run_id="mine", neighbours=1)
    generate_run(db, spec)
    run_of = run_lookup(db)
    for run_id in ("mine", "mine-neighbour-1"):
        records = list(LandscapeExporter(db).export_run(run_id))[1:]
        assert {run_of(each) for each in records} == {run_id}


def test_a_record_that_is_not_stored_belongs_to_no_run(db: LandscapeDB) -> None:
    assert run_lookup(db)({"record_type": "row", "row_id": "nowhere"}) is None
    assert run_lookup(db)({"record_type": "manifest"}) is None
