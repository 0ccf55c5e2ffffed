"""A proxy on loopback in front of a PostgreSQL server, which cuts or holds its connections."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from servers import in_full
from sqlalchemy import URL

_MOST_BYTES = 4096


@dataclass
class Link:
    """One connection through the proxy, and how many bytes the server has answered on it."""

    client: socket.socket
    server: socket.socket
    answered: int = 0

    def cut(self) -> None:
        """End it for both sides, at whatever byte it is."""
        _shut_down(self.client)
        _shut_down(self.server)


@dataclass
class Proxy:
    """Passes on what client and server say to each other, until it is told otherwise."""

    listening: socket.socket
    server: str
    """The path of the server's socket."""
    cut_after: int | None = None
    """The bytes that a server may answer on a connection before it is cut."""
    links: list[Link] = field(default_factory=list)
    _threads: list[Thread] = field(default_factory=list)
    _closing: list[socket.socket] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _passing: Event = field(default_factory=Event)
    _refusing: bool = False

    @property
    def cuts(self) -> int:
        """How many connections had answered all that they may."""
        return sum(link.answered == self.cut_after for link in self.links)

    def through(self, url: URL) -> str:
        """The URL of a database that is reached through the proxy."""
        host, port = self.listening.getsockname()
        return in_full(url.set(host=host, port=port, query={}))

    def cut(self, *, for_good: bool = False) -> None:
        """Cut every connection there is, and perhaps every one that is still to come."""
        self._refusing = for_good
        with self._lock:
            for end in self._closing:
                _shut_down(end)

    def hold(self) -> None:
        """Swallow everything from now on."""
        self._passing.clear()

    def go_on(self) -> None:
        self._passing.set()

    def accept(self) -> None:
        """Serve until nobody listens any more."""
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
            for pump in (self._pass_questions, self._pass_answers):
                self.start(pump, link)

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Have a thread do something, to the end of which `close` waits."""
        thread = Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Cut everything, and let go of it."""
        self.go_on()
        self.cut(for_good=True)
        # Closing alone would not wake up who waits on it.
        self.listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._closing:
            end.close()

    def _pass_questions(self, link: Link) -> None:
        with suppress(OSError):
            while said := link.client.recv(_MOST_BYTES):
                self._passing.wait()
                link.server.sendall(said)
        link.cut()

    def _pass_answers(self, link: Link) -> None:
        with suppress(OSError):
            while said := link.server.recv(_MOST_BYTES):
                self._passing.wait()
                if self.cut_after is not None:
                    said = said[: self.cut_after - link.answered]
                link.client.sendall(said)
                link.answered += len(said)
                if link.answered == self.cut_after:
                    break
        link.cut()


def _shut_down(end: socket.socket) -> None:
    # The other side may have ended it by now.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_before(server: URL) -> Iterator[Proxy]:
    """Run a proxy in front of the server, on a port of its own."""
    path = f"{server.query['host']}/.s.PGSQL.{server.port or 5432}"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(listening, path)
        proxy.go_on()
        proxy.start(proxy.accept)
        yield proxy
        proxy.close()
