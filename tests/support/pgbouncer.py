"""A pgbouncer in front of a PostgreSQL server, for tests."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from postgres_server import url_text
from sqlalchemy import URL, make_url


@contextmanager
def pooler_or_skip(
    url: str, mode: str, *, sessions: int = 4, seconds_to_wait: int = 60
) -> Iterator[str]:
    """Run a pgbouncer on loopback while the block runs, and yield the URL of a database behind it.

    Args:
        url: The URL of the database, on the server's socket.
        mode: The pool mode: `transaction`, `session` or `statement`.
        sessions: How many sessions on the server its clients share.
        seconds_to_wait: How long a client waits for a session.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    database = make_url(url)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="landscape-pgbouncer-") as name:
        folder = Path(name)
        users = folder / "users"
        users.write_text(f'"{database.username}" ""\n')
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host={database.query['host']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {sessions}\nquery_wait_timeout = {seconds_to_wait}\n"
        )
        folder.chmod(0o755)
        # pgbouncer refuses to run as root, and the socket belongs to the user of the server.
        owner = Path(str(database.query["host"])).owner()
        as_other = ("-u", owner) if os.geteuid() == 0 else ()
        with subprocess.Popen(
            [program, *as_other, str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                pooled = database.set(host="127.0.0.1", port=port, query={})
                _wait_until_it_answers(pooled, process)
                yield url_text(pooled)
            finally:
                process.kill()


def _free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_until_it_answers(url: URL, process: "subprocess.Popen[bytes]") -> None:
    text = url_text(url.set(drivername="postgresql"))
    for _ in range(500):
        if process.poll() is not None:
            break
        with suppress(psycopg.OperationalError):
            psycopg.connect(text, connect_timeout=10).close()
            return
        time.sleep(0.02)
    raise AssertionError(f"pgbouncer does not answer; it ended with {process.poll()}")
