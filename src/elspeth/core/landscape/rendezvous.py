"""A place where workers and their parent wait for each other, in whichever processes they run.

It is a folder: whoever gets somewhere leaves a file there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

_SECONDS_BETWEEN_LOOKS = 0.002


class AbandonedError(RuntimeError):
    """The parent has given up; nobody waits for the worker's result any more."""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """The folder that all meet in, which exists as long as the parent is there."""

    folder: Path

    def reach(self, name: str) -> None:
        """Tell whoever waits for it, or looks whether it is reached."""
        (self.folder / name).touch()

    def check_not_reached(self, name: str) -> None:
        """Raise AbandonedError when it is reached, or the folder is gone."""
        if (self.folder / name).exists() or not self.folder.exists():
            raise AbandonedError("nobody waits for this worker any more")

    def wait_for(self, name: str, *, unless: str) -> None:
        """Wait until it is reached. Raises AbandonedError when `unless` is reached before."""
        while not (self.folder / name).exists():
            self.check_not_reached(unless)
            sleep(_SECONDS_BETWEEN_LOOKS)

    def have_all_reached(
        self, names: Iterable[str], *, within_seconds: float, meanwhile: Callable[[], None]
    ) -> bool:
        """Wait until every name is reached; False when that takes too long.

        `meanwhile` is called again and again, and may raise.
        """
        missing = set(names)
        end = monotonic() + within_seconds
        while missing := {name for name in missing if not (self.folder / name).exists()}:
            meanwhile()
            if monotonic() > end:
                return False
            sleep(_SECONDS_BETWEEN_LOOKS)
        return True
