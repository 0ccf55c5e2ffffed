"""The costs that a candidate declares, which it is judged by."""

from dataclasses import dataclass

from querygrowth.contract import Allowance, QueryContract


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
