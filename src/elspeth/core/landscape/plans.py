"""How SQLite means to answer the statements of an export: where it scans, where it sorts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from elspeth.core.landscape import records
from elspeth.core.landscape.partition import WHOLE, Partition
from elspeth.core.landscape.records import RecordType
from elspeth.core.landscape.statements import Statement, export_statements

ROW_SIDE = (
    records.ROW,
    records.TOKEN,
    records.TOKEN_PARENT,
    records.NODE_STATE,
    records.ROUTING_EVENT,
    records.CALL,
)
"""The types whose statements begin at the rows of a run, and that grow with them."""

_SCAN = re.compile(r"SCAN (?:TABLE )?(\w+)|SEARCH (?:TABLE )?(\w+) USING AUTOMATIC")
"""An index made for one statement alone is a scan too."""
_WHOLE_SORT = re.compile(r"USE TEMP B-TREE FOR ORDER BY")


@dataclass(frozen=True, slots=True)
class Plan:
    """SQLite's plan of one statement, line by line as EXPLAIN QUERY PLAN tells it."""

    record_type: RecordType
    lines: Sequence[str]

    @property
    def scanned(self) -> Sequence[str]:
        """The tables read from end to end, whatever their rows belong to."""
        found = (_SCAN.match(line) for line in self.lines)
        return [match[1] or match[2] for match in found if match]

    @property
    def sorts_everything(self) -> bool:
        """Whether the whole result is sorted before its first row, and not one parent's rows.

        What is sorted within a parent is told as the RIGHT PART or the LAST TERMS of ORDER BY.
        """
        return any(map(_WHOLE_SORT.match, self.lines))

    @property
    def grows_with_the_run(self) -> bool:
        """Whether a statement of the row side costs more than the rows that it gives.

        The other tables (nodes, edges, batches and their members, artifacts) are sorted whole.
        """
        return self.record_type in ROW_SIDE and bool(self.scanned or self.sorts_everything)


def sqlite_plans(
    connection: Connection, run_id: str, partition: Partition = WHOLE
) -> Sequence[Plan]:
    """Ask SQLite for the plan of every statement of an export; nothing is read of the tables."""
    return [
        Plan(record_type, _explained(connection, statement))
        for record_type, statement in export_statements(run_id, partition).items()
    ]


def _explained(connection: Connection, statement: Statement) -> Sequence[str]:
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"literal_binds": True}
    )
    return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
