"""Says what a PostgreSQL standby may lack: it can lag behind its primary."""

from elspeth.core.landscape.database import LandscapeDB

_STATE = """
SELECT pg_is_in_recovery(),
       to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
"""


def standby_warning(db: LandscapeDB) -> str | None:
    """Return what to say of a standby and its moment; None for any other database.

    Raises:
        sqlalchemy.exc.DBAPIError: The database fails.
    """
    if db.engine.dialect.name != "postgresql":
        return None
    with db.connection() as connection:
        is_standby, moment = connection.exec_driver_sql(_STATE).one()
    if not is_standby:
        return None
    return (
        f"{db.masked_url} is a standby, as of {moment or 'an unknown moment'}: what was recorded "
        "since then is missing here; name the primary to be sure of the latest state"
    )
