"""A TCP proxy in front of a PostgreSQL server that can cut or pause its connections."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from postgres_server import url_text
from sqlalchemy import URL

_BUFFER_BYTES = 4096


@dataclass
class Link:
    """One connection through the proxy, and the number of bytes that the server has sent on it."""

    client: socket.socket
    server: socket.socket
    sent_bytes: int = 0

    def cut(self) -> None:
        """Shut the connection down on both sides at once."""
        _shut_down(self.client)
        _shut_down(self.server)


@dataclass
class Proxy:
    """Forwards what client and server send, until it has to cut or pause."""

    listening: socket.socket
    server: str
    """The path of the server's socket."""
    cut_after: int | None = None
    """The number of bytes that the server may send on a connection before it is cut."""
    links: list[Link] = field(default_factory=list)
    _threads: list[Thread] = field(default_factory=list)
    _closing: list[socket.socket] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _passing: Event = field(default_factory=Event)
    _refusing: bool = False

    @property
    def cuts(self) -> int:
        """The number of connections that were cut after `cut_after` bytes."""
        return sum(link.sent_bytes == self.cut_after for link in self.links)

    def through(self, url: URL) -> str:
        """Return the URL of a database for connections through the proxy."""
        host, port = self.listening.getsockname()
        return url_text(url.set(host=host, port=port, query={}))

    def cut(self, *, refuse_new: bool = False) -> None:
        """Cut all connections, and refuse new ones if asked to."""
        self._refusing = refuse_new
        with self._lock:
            for end in self._closing:
                _shut_down(end)

    def pause(self) -> None:
        """Forward nothing until `resume`, and leave connections open."""
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()

    def accept(self) -> None:
        """Accept connections until the listening socket is closed."""
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.server)
            link = Link(client, server)
            with self._lock:
                self.links.append(link)
                self._closing += [client, server]
            for pump in (self._forward_requests, self._forward_answers):
                self.start(pump, link)

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a function in a thread. `close` waits for its end."""
        thread = Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Cut all connections, stop listening, and wait for the threads."""
        self.resume()
        self.cut(refuse_new=True)
        # Closing alone does not wake the thread that waits in accept().
        self.listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._closing:
            end.close()

    def _forward_requests(self, link: Link) -> None:
        with suppress(OSError):
            while received := link.client.recv(_BUFFER_BYTES):
                self._passing.wait()
                link.server.sendall(received)
        link.cut()

    def _forward_answers(self, link: Link) -> None:
        with suppress(OSError):
            while received := link.server.recv(_BUFFER_BYTES):
                self._passing.wait()
                if self.cut_after is not None:
                    received = received[: self.cut_after - link.sent_bytes]
                link.client.sendall(received)
                link.sent_bytes += len(received)
                if link.sent_bytes == self.cut_after:
                    break
        link.cut()


def _shut_down(end: socket.socket) -> None:
    # The other side may have shut it down already.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_for(server: URL) -> Iterator[Proxy]:
    """Run a proxy in front of a server, on a free port."""
    path = f"{server.query['host']}/.s.PGSQL.{server.port or 5432}"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(listening, path)
        proxy.resume()
        proxy.start(proxy.accept)
        yield proxy
        proxy.close()
