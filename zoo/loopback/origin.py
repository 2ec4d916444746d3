"""A listening socket of the loopback Hub, and what it can ask the Hub for."""

from __future__ import annotations

import socket
import sys
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Protocol

from zoo.loopback.faults import Faults
from zoo.loopback.routes import Routes

RequestKind = Literal["api", "resolvers", "cdn", "pages"]
"""What a request counts against: the rate limits of the Hub, or the second origin."""


@dataclass(slots=True)
class Served:
    """One request as it was answered; recorded before the reply leaves."""

    method: str
    path: str
    """Unquoted, without the query."""
    query: str
    kind: RequestKind
    range: str | None
    """The Range header."""
    status: int
    bytes_sent: int
    """Bytes of the body that were written to the socket."""
    has_token: bool
    """Whether an Authorization header came with it (its value is not kept)."""


class Hub(Protocol):
    """What a request is answered with."""

    faults: Faults
    requests: deque[Served]
    routes: Routes
    closing: threading.Event

    def spend(self, kind: str) -> tuple[bool, dict[str, str]]:
        """Count one request; whether it is within its limit, and the headers that say so."""
        ...


class Origin(ThreadingHTTPServer):
    """One listening socket that knows its open connections, so that it can end them."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        hub: Hub,
        handler: type[BaseHTTPRequestHandler],
        *,
        is_cdn: bool,
    ) -> None:
        self.hub = hub
        self.is_cdn = is_cdn
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def server_bind(self) -> None:
        # HTTPServer's looks the host name up in DNS; an offline machine would wait for it
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        with self._guard:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]

    def close_connections(self) -> None:
        with self._guard:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client was faster
                    continue

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are no news; everything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]
