"""Xet storage on loopback, as far as hf_xet's downloads need it, and a Hub that points to it.

The protocol is the published one: a reconstruction names the chunks of one xorb and the address to
fetch them from. Nothing is compressed or deduplicated, and hashes are names.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from zoo.loopback import HubServer
from zoo.loopback.faults import Fault
from zoo.loopback.replies import Reply, Request, json_reply

CHUNK = 64_000
TOKEN = "xet-token"
XORB = "b" * 64

Trouble = Literal["refuse", "stall", "cut"]


class XetStorage(ThreadingHTTPServer):
    """Serves files by their Xet hash. `trouble` happens to every request for bytes."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.trouble: Trouble | None = None
        self.asked: list[tuple[str, str]] = []
        """(path, Authorization)."""
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: XetStorage

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        _, *parts = self.path.split("/")
        if parts[:2] == ["v1", "reconstructions"] and parts[2] in self.server.files:
            self._reconstruction(parts[2])
        elif parts[0] == "xorb":
            self._xorb(parts[1])
        else:
            self._send(404, b"")

    def _range(self) -> tuple[int, int]:
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return int(first), int(last) + 1

    def _reconstruction(self, file: str) -> None:
        data = self.server.files[file]
        start, end = self._range()
        first, last = start // CHUNK, -(-min(end, len(data)) // CHUNK)
        span = {"start": first, "end": last}
        packed = len(_packed(data[: last * CHUNK]))
        term = {
            "hash": XORB,
            "unpacked_length": min(last * CHUNK, len(data)) - first * CHUNK,
            "range": span,
        }
        fetch = {
            "range": span,
            "url": f"{self.server.url}/xorb/{file}",
            "url_range": {"start": first * (CHUNK + 8), "end": packed - 1},
        }
        said = {
            "offset_into_first_range": start - first * CHUNK,
            "terms": [term],
            "fetch_info": {XORB: [fetch]},
        }
        self._send(200, json.dumps(said).encode())

    def _xorb(self, file: str) -> None:
        trouble, whole = self.server.trouble, _packed(self.server.files[file])
        if trouble == "refuse":
            return self._send(403, b"")
        start, end = self._range()
        body = whole[start:end]
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(whole)}"}
        self._send(206, body if trouble is None else body[: len(body) // 2], headers, len(body))
        if trouble == "stall":
            self.server.over.wait(20.0)
        self.close_connection = trouble is not None

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


def _packed(data: bytes) -> bytes:
    """A xorb of uncompressed chunks: version, stored length, scheme, length, bytes."""
    out = bytearray()
    for at in range(0, len(data), CHUNK):
        chunk = data[at : at + CHUNK]
        length = len(chunk).to_bytes(3, "little")
        out += b"\0" + length + b"\0" + length + chunk
    return bytes(out)


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[XetStorage]:
    """A storage with these files (Xet hash -> bytes)."""
    storage = XetStorage(files)
    thread = threading.Thread(target=storage.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield storage
    finally:
        storage.over.set()
        storage.shutdown()
        thread.join()
        storage.server_close()


def point_to_xet(hub: HubServer, hashes: Mapping[str, str], storage_url: str) -> None:
    """Make a served Hub list `hashes` (file name -> Xet hash) and hand out tokens of a storage."""
    plain: Callable[[Request, Mapping[str, Fault]], Reply] = hub.routes.answer

    def answer(request: Request, faults: Mapping[str, Fault]) -> Reply:
        if "xet-read-token" in request.segments:
            ends = str(int(time.time()) + 3600)
            return json_reply(
                {},
                {
                    "X-Xet-Cas-Url": storage_url,
                    "X-Xet-Access-Token": TOKEN,
                    "X-Xet-Token-Expiration": ends,
                },
            )
        reply = plain(request, faults)
        if "tree" in request.segments and reply.status == 200:
            assert isinstance(reply.body, bytes)
            rows = json.loads(reply.body)
            for row in rows:
                if row["path"] in hashes:
                    row["xetHash"] = hashes[row["path"]]
            return Reply(200, reply.headers, json.dumps(rows).encode())
        return reply

    hub.routes.answer = answer  # type: ignore[method-assign]
