"""The loopback Hub's sockets: two origins, faults of the line, rate limits and a record.

    with HubServer("checkpoints") as hub:
        HfApi(endpoint=hub.url).list_models()

Meant for one machine or a trusted network: plain HTTP, and tokens are only compared, never logged.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from zoo.errors import UseError
from zoo.hub.serve.faults import Fault, Faults
from zoo.hub.serve.replies import FilePart, Reply, Request, error_reply
from zoo.hub.serve.routes import Access, Cdn, Routes
from zoo.hub.serve.shelf import Shelf

BODY_BYTES = 2**20
BLOCK_BYTES = 2**16
IDLE_S = 60.0
RECORD_LENGTH = 100_000
RequestKind = Literal["api", "resolvers", "cdn", "pages"]


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


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A fixed window of requests, as the Hub announces it."""

    quota: int
    """Requests in one window."""
    window_s: float = 300.0


class HubServer:
    """A folder served with the Hub's protocol. A context manager; `close` frees every socket."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Iterable[Fault] = (),
        tokens: Mapping[str, tuple[str, ...]] | None = None,
        redirect: bool = False,
        link_ttl_s: float = 3600.0,
        sign_ranges: bool = False,
        rate_limits: Mapping[str, RateLimit] | None = None,
        page_size: int = 1000,
        fresh_s: float = 0.0,
    ) -> None:
        """`tokens`: token -> globs of gated or private repositories it opens. `redirect`: large
        files come from a second origin through links that live `link_ttl_s`; `sign_ranges`: each link
        serves only the range it was asked for with. `fresh_s`: how long
        a listing may be reused before the folder is looked at again."""
        self.faults = Faults(faults)
        self.requests: deque[Served] = deque(maxlen=RECORD_LENGTH)
        self.closing = threading.Event()
        self._windows = {kind: _Window(limit) for kind, limit in (rate_limits or {}).items()}
        shelf = Shelf(root)
        self._main = _Origin((host, port), self, is_cdn=False)
        self._cdn: _Origin | None = None
        cdn = None
        if redirect:
            try:
                self._cdn = _Origin((host, 0), self, is_cdn=True)
            except OSError:
                self._main.server_close()
                raise
            cdn = Cdn(self._cdn.url, secrets.token_bytes(32), link_ttl_s, sign_ranges)
        self.routes = Routes(
            shelf, Access(dict(tokens or {})), cdn, page_size=page_size, fresh_s=fresh_s
        )
        self._threads = [
            threading.Thread(target=o.serve_forever, args=(0.05,), name="hub-serve", daemon=True)
            for o in self._origins()
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        """What to give as `endpoint=` or HF_ENDPOINT."""
        return self._main.url

    @property
    def cdn_url(self) -> str | None:
        """The second origin, if large files are redirected."""
        return self._cdn.url if self._cdn else None

    def close(self) -> None:
        """Stop answering, end open connections, wait for the threads."""
        self.closing.set()
        for origin in self._origins():
            origin.shutdown()
            origin.close_connections()
            origin.server_close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> HubServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def spend(self, kind: str) -> tuple[bool, dict[str, str]]:
        """Count one request; whether it is within its limit, and the headers that say so."""
        window = self._windows.get(kind)
        if window is None:
            return True, {}
        return window.spend(kind)

    def _origins(self) -> list[_Origin]:
        return [o for o in (self._main, self._cdn) if o is not None]


class _Window:
    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._used = 0

    def spend(self, kind: str) -> tuple[bool, dict[str, str]]:
        quota, window = self._limit.quota, self._limit.window_s
        with self._lock:
            now = time.monotonic()
            if now - self._start >= window:
                self._start, self._used = now, 0
            within = self._used < quota
            self._used += within
            left, reset = quota - self._used, self._start + window - now
        return within, {
            "RateLimit": f'"{kind}";r={left};t={max(0, round(reset + 0.5))}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={quota};w={round(window)}',
        }


class _Origin(ThreadingHTTPServer):
    """One listening socket that knows its open connections, so that it can end them."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hub: HubServer, *, is_cdn: bool) -> None:
        self.hub = hub
        self.is_cdn = is_cdn
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

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


class _CutError(ConnectionError):
    """The connection is to end here, as a fault asks."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "zoo-hub"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: _Origin

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `HubServer.requests` is the record, and it holds no tokens."""

    def _serve(self) -> None:
        hub = self.server.hub
        request = self._read()
        if request is None:
            self.close_connection = True
            self._send(error_reply(413, "body too large"), {}, {}, None)
            return
        kind = self._kind(request)
        within, limit_headers = hub.spend(kind)
        faults = hub.faults.hits(request.method, request.path)
        if not within:
            reply = error_reply(429, "Too Many Requests")
        elif status := next((f for k, f in faults.items() if k.isdigit()), None):
            reply = _status_fault(status, kind)
        elif self.server.is_cdn:
            reply = hub.routes.answer_cdn(request, faults)
        else:
            reply = hub.routes.answer(request, faults)
        record = Served(
            method=request.method,
            path=request.path,
            query="" if self.server.is_cdn else urlsplit(self.path).query,  # no signatures
            kind=kind,
            range=request.headers.get("range"),
            status=reply.status,
            bytes_sent=0,
            has_token="authorization" in request.headers,
        )
        hub.requests.append(record)
        try:
            self._send(reply, limit_headers, faults, record)
        except ConnectionError:
            self.close_connection = True

    def _kind(self, request: Request) -> RequestKind:
        if self.server.is_cdn:
            return "cdn"
        if request.segments[:1] == ("api",):
            return "api"
        return "resolvers" if {"resolve", "raw"} & set(request.segments) else "pages"

    def _read(self) -> Request | None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return None
        parts = urlsplit(self.path)
        return Request(
            method=self.command,
            path=unquote(parts.path),
            segments=tuple(unquote(s) for s in parts.path.strip("/").split("/")),
            query=parse_qs(parts.query),
            headers=headers,
            body=self.rfile.read(int(length)),
            base_url=self.server.url,
        )

    def _send(
        self,
        reply: Reply,
        extra: Mapping[str, str],
        faults: Mapping[str, Fault],
        record: Served | None,
    ) -> None:
        self.send_response(reply.status)
        for key, value in {**reply.headers, **extra}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(reply.length))
        self.send_header("X-Request-Id", secrets.token_hex(8))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = reply.body
        if isinstance(body, bytes) or record is None:
            self.wfile.write(body if isinstance(body, bytes) else b"")
            if record is not None:
                record.bytes_sent = reply.length
        elif {"slow", "stall", "cut", "garble"} & set(faults):
            self._send_badly(body, faults, record)
        elif body.length:
            self._send_file(body, record)

    def _send_file(self, part: FilePart, record: Served) -> None:
        record.bytes_sent = part.length  # before the client can see the last byte
        with open(part.blob.open_fd(), "rb", buffering=0) as file:
            sent = 0
            try:
                sent = self.connection.sendfile(file, part.start, part.length)
            finally:
                if sent != part.length:  # the client has gone, or the file has shrunk
                    record.bytes_sent = sent
                    self.close_connection = True

    def _send_badly(self, part: FilePart, faults: Mapping[str, Fault], record: Served) -> None:
        closing = self.server.hub.closing
        rate = faults["slow"].rate if "slow" in faults else None
        garble = faults["garble"].at_byte if "garble" in faults else None
        ends = [f for k, f in faults.items() if k in {"stall", "cut"} and f.at_byte < part.length]
        length = min([part.length, *(f.at_byte for f in ends)])
        with open(part.blob.open_fd(), "rb", buffering=0) as file:
            file.seek(part.start)
            while record.bytes_sent < length:
                left = length - record.bytes_sent
                # ten blocks a second of a slow body, so that a stall of a second is not a block
                size = BLOCK_BYTES if rate is None else max(1, min(BLOCK_BYTES, int(rate / 10)))
                block = bytearray(file.read(min(size, left)))
                if not block:
                    raise _CutError
                if garble is not None and 0 <= garble - record.bytes_sent < len(block):
                    block[garble - record.bytes_sent] ^= 1
                if rate is not None:
                    closing.wait(len(block) / rate)
                record.bytes_sent += len(block)
                self.wfile.write(block)
        if ends:
            if (stall := faults.get("stall")) in ends and stall is not None:
                closing.wait(stall.seconds)
            raise _CutError


def _status_fault(fault: Fault, kind: str) -> Reply:
    headers = {}
    if fault.kind in {"429", "503"} and fault.seconds != Fault("429").seconds:
        headers["Retry-After"] = str(round(fault.seconds))
        if fault.kind == "429":
            headers["RateLimit"] = f'"{kind}";r=0;t={round(fault.seconds)}'
    return error_reply(int(fault.kind), "injected fault", headers=headers)


def run(
    root: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8642,
    faults: Iterable[Fault] = (),
    *,
    redirect: bool = False,
    tokens: Mapping[str, tuple[str, ...]] | None = None,
    stop: threading.Event | None = None,
    on_start: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve `root` until `stop` is set or the process is interrupted.

    `on_start` is called with the endpoint once it answers. UseError when the folder is missing or
    the port taken.
    """
    try:
        server = HubServer(
            root,
            host=host,
            port=port,
            faults=faults,
            redirect=redirect,
            tokens=tokens,
            fresh_s=2.0,
        )
    except FileNotFoundError as err:
        raise UseError(f"no folder {os.fspath(root)!r} to serve") from err
    except OSError as err:
        raise UseError(f"cannot listen on {host}:{port}: {err.strerror}; try --port") from err
    with server:
        on_start(server.url)
        try:
            (stop or threading.Event()).wait()
        except KeyboardInterrupt:
            return
