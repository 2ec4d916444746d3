"""The pacing and the options of a whole process, also for code that calls huggingface_hub or
transformers itself.

A worker calls `configure` once when it starts; without it each endpoint gets a pacing of its own
in this process, and the default options.
"""

from __future__ import annotations

import logging
import time
from functools import partial

import httpx2
import stamina
import stamina.instrumentation
from huggingface_hub import close_session, set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook  # as its documentation advises

from zoo.hub.client import HubClient, HubOptions, default_endpoint
from zoo.hub.greeting import greeting_of
from zoo.hub.pacing import HubPacing, Pacing, RequestKind
from zoo.hub.retries import Retry, tell


class _Process:
    """What this process uses. One instance, changed by `configure` alone."""

    def __init__(self) -> None:
        self.options = HubOptions()
        self.pacing: Pacing | None = None
        self.pacings: dict[str, HubPacing] = {}
        self.tells_retries = False


_PROCESS = _Process()


def configure(*, pacing: Pacing | None = None, options: HubOptions | None = None) -> None:
    """Use this pacing (None: one per endpoint, in this process) and these options (None: the
    default ones) from now on.

    Also gives huggingface_hub's shared session timeouts, and paces what other libraries send
    through it. Signed links are kept out of the logs.
    """
    _PROCESS.options = options or HubOptions()
    _PROCESS.pacing = pacing
    _PROCESS.pacings.clear()
    for name in ("httpx", "httpx2"):  # they log every address, signed ones too, at INFO
        logging.getLogger(name).setLevel(logging.WARNING)
    _tell_retries()
    close_session()
    set_client_factory(partial(_make_session, _PROCESS.options))


def process_client(endpoint: str | None = None) -> HubClient:
    """A client of this process's pacing and options, which greets inside `briefly()`."""
    _tell_retries()
    address = (endpoint or default_endpoint()).rstrip("/")
    pacing = _PROCESS.pacing or _PROCESS.pacings.setdefault(address, HubPacing())
    return HubClient(
        address, options=_PROCESS.options, pacing=pacing, greeting=greeting_of(address)
    )


def _tell_retries() -> None:
    """Retries are told to `zoo.hub.retries`; stamina's own hook warns without saying of what."""
    if not _PROCESS.tells_retries:
        stamina.instrumentation.set_on_retry_hooks([_tell_retry])
        _PROCESS.tells_retries = True


def _tell_retry(details: stamina.instrumentation.RetryDetails) -> None:
    tell(Retry(details.retry_num + 1, details.wait_for, details.caused_by))


def _make_session(options: HubOptions) -> httpx2.Client:
    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook, _pace], "response": [_observe]},
        follow_redirects=True,
        timeout=httpx2.Timeout(options.stall_s, connect=options.connect_s),
    )


def _kind(request: httpx2.Request) -> RequestKind | None:
    """The budget a request of another library counts against; our own are paced by HubClient."""
    if request.extensions.get("zoo_paced"):
        return None
    path = request.url.path
    if path.startswith("/api/"):
        return "api"
    return "resolvers" if "/resolve/" in path else None


def _pacing_of(request: httpx2.Request) -> Pacing:
    """The pacing of the endpoint that the request goes to."""
    url = request.url
    port = f":{url.port}" if url.port else ""
    return process_client(f"{url.scheme}://{url.host}{port}").pacing


def _pace(request: httpx2.Request) -> None:
    """Waits before another library's request is sent."""
    kind = _kind(request)
    if kind is not None and (wait := _pacing_of(request).acquire(kind)) > 0.0:
        time.sleep(min(wait, _PROCESS.options.max_pause_s))


def _observe(response: httpx2.Response) -> None:
    """Tells the pacing what the Hub answered to another library's request."""
    kind = _kind(response.request)
    if kind is not None:
        _pacing_of(response.request).observe(kind, response.status_code, dict(response.headers))
