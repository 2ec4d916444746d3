"""The loopback Hub: two origins over a folder, faults of the line, rate limits and a record.

    with HubServer("checkpoints") as hub:
        HfApi(endpoint=hub.url).list_models()

Meant for one machine or a trusted network: plain HTTP, and tokens are only compared, never logged.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from zoo.errors import UseError
from zoo.loopback.faults import Fault, Faults
from zoo.loopback.handler import Handler
from zoo.loopback.origin import Origin, Served
from zoo.loopback.quota import RateLimit, Window
from zoo.loopback.routes import Access, Cdn, Routes
from zoo.loopback.shelf import Shelf

RECORD_LENGTH = 100_000
"""Requests that are remembered; the oldest go first."""


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
        writable: bool = False,
    ) -> None:
        """`tokens`: token -> globs of gated or private repositories it opens. `redirect`: large
        files come from a second origin through links that live `link_ttl_s`; `sign_ranges`: each link
        serves only the range it was asked for with. `fresh_s`: how long
        a listing may be reused before the folder is looked at again. `writable`: tokens may also commit to
        the repositories that they open, and make datasets and Spaces (in `.datasets` and `.spaces`)."""
        self.faults = Faults(faults)
        self.requests: deque[Served] = deque(maxlen=RECORD_LENGTH)
        self.closing = threading.Event()
        self._windows = {kind: Window(limit) for kind, limit in (rate_limits or {}).items()}
        shelf = Shelf(root)
        self._main = Origin((host, port), self, Handler, is_cdn=False)
        self._cdn: Origin | None = None
        cdn = None
        if redirect:
            try:
                self._cdn = Origin((host, 0), self, Handler, is_cdn=True)
            except OSError:
                self._main.server_close()
                raise
            cdn = Cdn(self._cdn.url, secrets.token_bytes(32), link_ttl_s, sign_ranges)
        self.routes = Routes(
            shelf,
            Access(dict(tokens or {})),
            cdn,
            page_size=page_size,
            fresh_s=fresh_s,
            writable=writable,
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

    def _origins(self) -> list[Origin]:
        return [o for o in (self._main, self._cdn) if o is not None]


def run(
    root: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8642,
    faults: Iterable[Fault] = (),
    *,
    redirect: bool = False,
    writable: bool = False,
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
            writable=writable,
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
