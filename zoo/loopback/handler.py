"""One request of the loopback Hub: read, answered by the routes, sent well or as a fault asks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from zoo.loopback.faults import Fault
from zoo.loopback.origin import Origin, RequestKind, Served
from zoo.loopback.replies import FilePart, Reply, Request, error_reply
from zoo.loopback.uploads import COMMIT_BYTES

BODY_BYTES = 2**20
"""A request with a longer body is refused, but for a commit."""
BLOCK_BYTES = 2**16
"""Bytes of a body that are sent at a time where a fault is at work."""
IDLE_S = 60.0
"""Seconds after which a connection without a request is closed."""


class _CutError(ConnectionError):
    """The connection is to end here, as a fault asks."""


class Handler(BaseHTTPRequestHandler):
    """Every method of every origin; keeps its connection open between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "zoo-hub"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: Origin

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
        """The rate limit that the request counts against."""
        if self.server.is_cdn:
            return "cdn"
        if request.segments[:1] == ("api",):
            return "api"
        return "resolvers" if {"resolve", "raw"} & set(request.segments) else "pages"

    def _read(self) -> Request | None:
        """The request; None when its body is too long."""
        headers = {k.lower(): v for k, v in self.headers.items()}
        length = headers.get("content-length", "0")
        is_commit = self.server.hub.routes.is_writable and "/commit/" in self.path
        most = COMMIT_BYTES if is_commit else BODY_BYTES
        if not length.isdigit() or int(length) > most:
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
            self._send_with_faults(body, faults, record)
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

    def _send_with_faults(
        self, part: FilePart, faults: Mapping[str, Fault], record: Served
    ) -> None:
        """The body, slowed, stalled, cut off or with one wrong bit, as the faults say."""
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
    """The error that a fault asks for, with how long to wait where it says so."""
    headers = {}
    if fault.kind in {"429", "503"} and fault.seconds != Fault("429").seconds:
        headers["Retry-After"] = str(round(fault.seconds))
        if fault.kind == "429":
            headers["RateLimit"] = f'"{kind}";r=0;t={round(fault.seconds)}'
    return error_reply(int(fault.kind), "injected fault", headers=headers)
