"""What a process and a database share with an exporter: settings, connections, transactions.

Like `call_script`, it imports the standard library and SQLAlchemy only.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import hashlib
import locale
import logging
import os
import resource
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 20, 0.05


def process_state() -> dict[str, Any]:
    """Describe the settings of this process that an export must leave as they were, by name."""
    umask = os.umask(0)
    os.umask(umask)
    limits = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE")
    return {
        # As hashes: a variable may hold a password, and outcomes are written to files.
        "environment": {
            name: hashlib.sha256(os.fsencode(value)).hexdigest()
            for name, value in os.environ.items()
        },
        "current directory": str(Path.cwd()),
        "umask": f"{umask:04o}",
        "locale": locale.setlocale(locale.LC_ALL),
        "time zone": list(time.tzname),
        "signal handlers": {
            str(each): repr(signal.getsignal(each)) for each in sorted(signal.valid_signals())
        },
        # A library that is imported during an export may add filters for messages of its modules.
        "warnings filters": [
            [each[0], str(each[2])]
            for each in warnings.filters
            if each[1] is None and each[3] is None
        ],
        "logging": [logging.root.level, logging.root.manager.disable, *_log_handlers()],
        "garbage collection": [gc.isenabled(), *gc.get_threshold()],
        "recursion limit": sys.getrecursionlimit(),
        "standard streams": [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
        "exception hook": repr(sys.excepthook),
        "decimal context": [decimal.getcontext().prec, decimal.getcontext().rounding],
        "resource limits": [list(resource.getrlimit(getattr(resource, each))) for each in limits],
    }


def _log_handlers() -> list[str]:
    # Without the one to standard error, which `logging.info()` adds if there is no other.
    return [repr(each) for each in logging.root.handlers if type(each) is not logging.StreamHandler]


def is_locked(engine: Any) -> bool | None:
    """Whether another connection holds a transaction; None if that cannot be seen.

    On SQLite with a write-ahead log only a transaction that writes is seen: one that reads locks
    nobody out.
    """
    if engine.dialect.name == "sqlite":
        path = engine.url.database
        if path in (None, "", ":memory:"):
            return None
        return not _becomes_true(lambda: _can_be_locked(path))
    from sqlalchemy import create_engine, pool, text

    idle = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    watcher = create_engine(engine.url, poolclass=pool.NullPool)
    with watcher.connect() as connection:
        return not _becomes_true(lambda: connection.execute(idle).scalar() == 0)


def _becomes_true(condition: Callable[[], bool]) -> bool:
    # A thread of the exporter may still be ending its transaction.
    for _ in range(_LOCK_TRIES):
        if condition():
            return True
        time.sleep(_LOCK_PAUSE_SECONDS)
    return False


def _can_be_locked(path: str) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True
