"""Peak memory of one export, in bytes: what a fresh process that does nothing else came to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of a process: before the export, and at its highest during it."""

    start_bytes: int
    peak_bytes: int

    @property
    def above_start_bytes(self) -> int:
        """How much the export added at its highest."""
        return self.peak_bytes - self.start_bytes
