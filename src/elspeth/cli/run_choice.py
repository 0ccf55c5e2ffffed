"""Which runs an option names: one by its id, the latest, or several by start and status."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import String, literal, select, type_coerce

from elspeth.cli.runtime import UsageError
from elspeth.contracts.enums import RunStatus
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.schema import runs_table

_RUN_CALLED_LATEST = "id:latest"
_LONGEST_SHOWN = 100
# Python reads more than ISO 8601: any letter between date and time, and a fraction without end.
_MOMENT = re.compile(
    r"[0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}-?[0-9]?)(?:[T ][0-9:.,+Z-]{2,32})?"
)


def chosen_run(run: str, db: LandscapeDB) -> str:
    """Return the id of the run that an option names: itself, or the latest run for "latest".

    "id:latest" is the run with the id "latest", unless a run has that longer text as its id.

    Raises:
        RunNotFoundError: The id is not text that a query can hold.
        UsageError: "latest", and the database holds no runs, or an older run with that id.
    """
    if run == _RUN_CALLED_LATEST:
        return run if has_run(run, db) else "latest"
    if run != "latest":
        # Python turns command-line bytes that are not UTF-8 into surrogates, which no driver can
        # encode for a query.
        try:
            run.encode()
        except UnicodeEncodeError:
            raise RunNotFoundError(run) from None
        return run
    found = LandscapeRecorder(db).list_runs(limit=1)
    if not found:
        raise UsageError(f"{db.masked_url} holds no runs")
    newest = found[0].run_id
    if newest != run and has_run(run, db):
        raise UsageError(
            f"--run latest: an older run has the id 'latest'; write {_RUN_CALLED_LATEST} for it, "
            f"or the id of the newest, {newest!r}"
        )
    return newest


def has_run(run_id: str, db: LandscapeDB) -> bool:
    """Whether the database holds a run of this id."""
    with db.connection() as connection:
        found = connection.execute(select(literal(1)).where(runs_table.c.run_id == run_id)).first()
    return found is not None


@dataclass(frozen=True)
class StoredRun:
    """A run as the database holds it, before anything of it is judged."""

    run_id: str
    status: str


@dataclass(frozen=True)
class Selection:
    """Several runs: all, or those that started since a moment, or those of a status, or both."""

    since: datetime | None = None
    status: RunStatus | None = None

    def __str__(self) -> str:
        since = None if self.since is None else f"--since {self.since.isoformat()}"
        status = None if self.status is None else f"--status {self.status.value}"
        return " ".join(filter(None, (since, status))) or "--all"

    def runs(self, db: LandscapeDB) -> Sequence[StoredRun]:
        """Return the chosen runs, oldest first, with one query.

        Raises:
            UsageError: the database holds no runs.
        """
        runs = runs_table.c
        # As text on SQLite, which stores what it was given: a time that cannot be read must fail
        # the export of its run, and not the choice of all others.
        is_text = db.engine.dialect.name == "sqlite"
        started = type_coerce(runs.started_at, String) if is_text else runs.started_at
        with db.connection() as connection:
            found = connection.execute(
                select(runs.run_id, type_coerce(runs.status, String), started).order_by(
                    runs.started_at, runs.run_id
                )
            ).all()
        if not found:
            raise UsageError(f"{db.masked_url} holds no runs")
        return [
            StoredRun(run_id, status)
            for run_id, status, started_at in found
            if self.status in (None, status) and self._has_started(started_at)
        ]

    def _has_started(self, started_at: object) -> bool:
        if self.since is None:
            return True
        moment = _moment(started_at)
        return moment is None or moment >= self.since


def _moment(stored: object) -> datetime | None:
    """Return a stored time in UTC; None if it cannot be read."""
    try:
        moment = stored if isinstance(stored, datetime) else datetime.fromisoformat(str(stored))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def read_moment(text: str, now: datetime) -> datetime:
    """Return the moment of --since, in UTC where the text has no offset.

    Args:
        text: A date or a time in ISO 8601.
        now: The present: no run has started after it.

    Raises:
        UsageError: The text is not a moment, or is one in the future.
    """
    try:
        moment = _moment(datetime.fromisoformat(text)) if _MOMENT.fullmatch(text) else None
        # Some moments near the first and the last year cannot be compared.
        is_future = moment is not None and moment > now
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise UsageError(
            f"--since {text[:_LONGEST_SHOWN]!r}: write a date or a time in ISO 8601, such as "
            "2026-01-31 or 2026-01-31T08:00+01:00"
        )
    if is_future:
        raise UsageError(f"--since {text!r} is in the future: no run has started since")
    return moment
