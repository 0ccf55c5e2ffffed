"""The costs that a candidate declares, and how a declared chunk is written.

The options of `harness check` and `harness gate` and the lists of exporters in `fixtures/` use the
same texts.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches

from elspeth.core.landscape.schema import metadata
from querygrowth.contracts.allowance import Allowance
from querygrowth.contracts.contract import QueryContract
from querygrowth.verdict import Verdict


@dataclass(frozen=True)
class Declared:
    """The costs that a candidate declares. The defaults are those of a streaming exporter.

    Args:
        transactions: The most transactions of an export.
        rows_per_record: The most fetched rows for a record.
        bytes_per_record: The most bytes of memory that a further record may take. A streaming
            exporter takes about one, for a length that varies.
        allowances: Tables that are read in chunks.
        worker_processes: Whether the candidate starts processes, whose costs cannot be counted.
    """

    transactions: int = 1
    rows_per_record: float = 1.5
    bytes_per_record: int = 4
    allowances: tuple[Allowance, ...] = ()
    worker_processes: bool = False

    @property
    def contract(self) -> QueryContract:
        """The declared costs in queries, transactions and fetched rows."""
        return QueryContract(
            transactions=self.transactions,
            rows_per_record=self.rows_per_record,
            allowances=self.allowances,
        )


def with_options(verdict: Verdict, declared: Declared) -> Verdict:
    """Return a failed verdict with the option of the command beside the call that declares chunks.

    Args:
        verdict: A verdict on growth.
        declared: What the candidate declares already.
    """
    advice, call, _ = verdict.next_step.partition("declare it: ")
    if not call:
        if not declared.allowances:
            return verdict
        # More was sent than was declared, which is a loop, or smaller chunks.
        advice = f"{advice}; if the chunks are smaller, "
    option = "--chunked TABLE=SIZE, or --chunked TABLE=SIZE:ROWS for ranges of rows"
    for each in declared.allowances:
        # The sizes may agree with the queries, and what they count does not.
        if each.chunk and f"{each.table} in chunks of {each.chunk}" in verdict.expected:
            text = f"{each.table}={each.chunk}"
            option += (
                f". {text} means {each.chunk} values in each query, such as a list of ids; "
                f"{each.chunk} rows read by each query are {text}:{each.table}"
            )
            break
    return replace(verdict, next_step=f"{advice}declare it: {option}")


def chunked(text: str) -> Allowance:
    """Return the allowance that a text declares.

    Args:
        text: `TABLE=SIZE`: a query about the table for every SIZE values that its queries carry,
            such as a list of ids. `TABLE=SIZE:ROWS`: a query for every SIZE rows that are fetched
            of the table ROWS, which may be the same table. The second form is for ranges of rows,
            by LIMIT and OFFSET or by a key.

    Raises:
        ValueError: It has another form, or names a table that the database does not have. The
            message names the nearest table.
    """
    table, _, rest = text.partition("=")
    size, colon, rows = rest.partition(":")
    if not (size.isascii() and size.isdecimal()) or int(size) < 2:
        # A query for every single value is what the checks look for.
        raise ValueError(f"{text!r}: not TABLE=SIZE or TABLE=SIZE:ROWS, with a size of at least 2")
    for name in (table, rows) if colon else (table,):
        if name not in metadata.tables:
            nearest = get_close_matches(name, metadata.tables, n=1, cutoff=0)[0]
            raise ValueError(f"there is no table {name!r}; the nearest is {nearest!r}")
    if colon:
        return Allowance(table, page=int(size), of=rows)
    return Allowance(table, chunk=int(size))
