"""A record of another process gives the same activity as one of this process."""

import json

from sqlalchemy import create_engine, text

from querygrowth.counting.activity import activity_of_record
from querygrowth.counting.record import Record, record
from querygrowth.counting.work import BRANCHES, VM_STEPS


def test_a_record_that_went_through_json_gives_the_same_activity() -> None:
    engine = create_engine("sqlite://")

    def action() -> None:
        for number in range(3):
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS states (id INTEGER)"))
                connection.execute(text("INSERT INTO states VALUES (:id)"), {"id": number})
                connection.execute(text("SELECT id FROM states")).all()
                connection.exec_driver_sql("PRAGMA user_version")
            raw = engine.raw_connection()
            raw.cursor().execute("SELECT 1 FROM states")
            raw.close()

    seen = record(action, engine, work=(VM_STEPS, BRANCHES))
    here = activity_of_record(seen)
    there = activity_of_record(Record.from_json(json.loads(json.dumps(seen.to_json()))))
    assert there == here
    assert (here.queries, here.transactions, here.checkouts) == (6, 3, 6)
    assert (here.rows_fetched, here.session_statements) == (6, 3)
    assert here.bypassed == ("SELECT ? FROM states",) * 3
    assert all(each.site is not None and each.site.path == __file__ for each in here.shapes)
