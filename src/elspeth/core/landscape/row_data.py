"""What a payload store gives for a source row: its data, or the reason why there is none."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class PayloadStore(Protocol):
    """Keeps the data of source rows outside the audit trail."""

    def retrieve(self, ref: str, /) -> bytes:
        """Return stored bytes. Raises KeyError when they were deleted or never stored."""


class RowDataState(str, Enum):  # noqa: UP042  as the other enums of the audit trail
    """Whether the data of a row can be had, and the reason if not."""

    AVAILABLE = "available"
    PURGED = "purged"
    NEVER_STORED = "never_stored"
    STORE_NOT_CONFIGURED = "store_not_configured"
    ROW_NOT_FOUND = "row_not_found"


@dataclass(frozen=True)
class RowDataResult:
    """The data of a row, which is there only in the state AVAILABLE.

    Raises:
        ValueError: There is data in another state, or none in this one.
    """

    state: RowDataState
    data: dict[str, Any] | None

    def __post_init__(self) -> None:
        if (self.state is RowDataState.AVAILABLE) != (self.data is not None):
            has = "no data" if self.data is None else "data"
            raise ValueError(f"A row in the state {self.state.value} cannot have {has}")
