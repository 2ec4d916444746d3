"""Requests to the Hub: huggingface_hub's own session, with timeouts, pacing, retries, typed errors.

Every request goes through `HubClient`: it waits as long as its pacing asks for, has a timeout, tells
the pacing what the Hub said, and turns whatever goes wrong into the errors of `zoo.errors`. The token comes from
the environment only, is sent to the endpoint's own origin only, and appears in no message. Knows
nothing of models or tensors.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx2
import stamina
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from zoo.errors import (
    ChangedError,
    GatedError,
    NotFoundError,
    SourceError,
    TransientError,
    UseError,
    ZooError,
)
from zoo.hub.greeting import Greeting
from zoo.hub.pacing import HubPacing, Pacing, RequestKind, asked_wait
from zoo.hub.retries import HubWait, tell

T = TypeVar("T")
"""What a request gives back."""
Params = Sequence[tuple[str, str]]
"""The fields of a query and their values, in order."""

MAX_JSON_BYTES = 64 * 2**20
"""A longer reply of the API is refused; a page of 1,000 models with configs has about 2 MB."""
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Environment variables that may hold the token, the preferred one first."""
_TOKEN_FILE_VARIABLE = "HF_TOKEN_PATH"
"""Environment variable that may name a file with the token, as the Hub's own client has it."""
_MAX_TOKEN = 4096
"""Characters that are read of it."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port that an address means when it names none."""
_TOLD_FROM_S = 1.0
"""Seconds of a wait from which it is told; the spread of requests over a window has shorter ones."""
_MAX_REDIRECTS = 3
"""Redirects of one request to the API that are followed: a renamed repository gives one."""


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How patient a client is."""

    connect_s: float = 10.0
    """Seconds that opening a connection may take."""
    stall_s: float = 60.0
    """A body is given up after so many seconds without a byte, or with fewer than `min_rate` bytes
    a second."""
    min_rate: float = 1024.0
    """Bytes per second, averaged over `stall_s`, below which a body counts as stalled."""
    attempts: int = 8
    """Tries of one request, the first one included."""
    wait_initial_s: float = 1.0
    """Seconds before the second try; the wait doubles from try to try, with jitter."""
    wait_max_s: float = 60.0
    """Most seconds between two tries."""
    max_pause_s: float = 900.0
    """When the pacing asks for a longer wait in seconds, the request fails as transient instead."""


@dataclass(slots=True)
class _Patience:
    """How much longer one request may wait because the Hub asks it to."""

    left_s: float


def env_token() -> str | None:
    """The Hub token of the environment, or of the file that it names in `HF_TOKEN_PATH` (a mounted
    secret); None without either. Never that of a login. UseError when the file cannot be read."""
    named = next((t for v in _TOKEN_VARIABLES if (t := os.environ.get(v, "").strip())), None)
    path = os.environ.get(_TOKEN_FILE_VARIABLE, "").strip()
    if named is not None or not path:
        return named
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_MAX_TOKEN).strip() or None
    except FileNotFoundError:  # an optional secret that nobody made
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UseError(
            f"{_TOKEN_FILE_VARIABLE}: cannot read the Hub token in {path}: {error}"
        ) from error


def default_endpoint() -> str:
    """HF_ENDPOINT, else the public Hub."""
    return os.environ.get("HF_ENDPOINT", "").strip() or constants.ENDPOINT


class HubClient:
    """Requests to one endpoint. Safe to share between threads; cheap to make."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        options: HubOptions | None = None,
        pacing: Pacing | None = None,
        greeting: Greeting | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = (endpoint or default_endpoint()).rstrip("/")
        self.options = options or HubOptions()
        self.pacing: Pacing = pacing or HubPacing()
        self._greeting = greeting
        self._sleep = sleep
        self._origin = _origin(self.endpoint)

    def api_url(self, *parts: str) -> str:
        """`<endpoint>/api/<parts>`; a slash inside a repository id stays one."""
        return "/".join((self.endpoint, "api", *(quote(p, safe="/") for p in parts)))

    def model_url(self, repo_id: str, *parts: str) -> str:
        """`<endpoint>/api/models/<id>/<parts>`; slashes inside `parts` are quoted."""
        return "/".join((self.api_url("models", repo_id), *(quote(p, safe="") for p in parts)))

    def file_url(self, repo_id: str, sha: str, name: str) -> str:
        """Address of a file at a commit."""
        return f"{self.endpoint}/{repo_id}/resolve/{sha}/{quote(name)}"

    def is_own(self, url: str) -> bool:
        """Whether `url` lies on the endpoint's origin, where the token may go."""
        return _origin(url) == self._origin

    def get_json(self, url: str, params: Params = (), *, what: str) -> object:
        """The JSON at an API address. `what` names the thing asked for in messages."""
        return self.retrying(lambda: self._json(url, params, what=what))[0]

    def pages(self, url: str, params: Params = (), *, what: str) -> Iterator[list[object]]:
        """The pages of a listing, each a list; follows `Link: rel=next` on the same origin."""
        seen: set[str] = set()
        following: str | None = url
        while following is not None and following not in seen:
            seen.add(following)
            once = partial(self._json, following, params if following == url else (), what=what)
            page, following = self.retrying(once)
            if not isinstance(page, list):
                raise SourceError(f"{what}: got a {type(page).__name__}, expected a list")
            yield page

    def retrying(self, once: Callable[[], T]) -> T:
        """`once()`, tried again with growing pauses while it raises a TransientError.

        Where the Hub says how long to wait, so long it is, and no longer: see `_as_asked`. A
        ChangedError is not tried again: the model has to start anew. Nor is the first request of a
        client that greets, unless the endpoint answered it.
        """
        greeting = self._greeting
        if greeting is not None and not greeting.answered:
            try:
                return greeting.try_once(once)
            except TransientError:
                if not greeting.answered:
                    raise
        options = self.options
        patience = _Patience(options.max_pause_s)
        for attempt in stamina.retry_context(
            on=lambda err: isinstance(err, TransientError) and not isinstance(err, ChangedError),
            attempts=options.attempts,
            timeout=None,
            wait_initial=options.wait_initial_s,
            wait_max=options.wait_max_s,
            wait_jitter=options.wait_initial_s,
        ):
            with attempt:
                return self._as_asked(once, patience)
        raise AssertionError("stamina re-raises the last error")

    def _as_asked(self, once: Callable[[], T], patience: _Patience) -> T:
        """`once()`, again after each pause that the Hub asks for.

        These are no failed tries and do not grow, whatever their number, as long as there is
        `patience` for them.
        """
        while True:
            try:
                return once()
            except TransientError as error:
                if error.wait_s is None or error.wait_s > patience.left_s:
                    raise
                patience.left_s -= error.wait_s
                if error.wait_s >= _TOLD_FROM_S:
                    tell(HubWait(error.wait_s))
                # the pacing holds back other requests, but may be lost with its process
                self._sleep(error.wait_s)

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        kind: RequestKind | None,
        what: str,
        headers: Mapping[str, str] | None = None,
        params: Params = (),
    ) -> Iterator[httpx2.Response]:
        """One request; its response with the body unread, whatever its status.

        No redirect is followed. `kind` None: not one of the Hub's own budgets (a signed link).
        Failures of the connection, also while the body is read, become TransientError.
        """
        self._pause(kind, what)
        options = self.options
        timeout = httpx2.Timeout(options.stall_s, connect=options.connect_s)
        sent = {**self._headers(url), "Accept-Encoding": "identity", **(headers or {})}
        try:
            with get_session().stream(
                method,
                url,
                params=list(params) or None,
                headers=sent,
                timeout=timeout,
                follow_redirects=False,
                extensions={"zoo_paced": True},
            ) as response:
                if self._greeting is not None:
                    self._greeting.answer()
                if kind is not None:
                    self.pacing.observe(kind, response.status_code, dict(response.headers))
                yield response
        except httpx2.TimeoutException as err:
            raise TransientError(
                f"{what}: no byte for {options.stall_s:g} s or no connection in "
                f"{options.connect_s:g} s ({type(err).__name__})"
            ) from err
        except (httpx2.NetworkError, httpx2.ProtocolError, httpx2.ProxyError) as err:
            scheme, host, port = _origin(url)
            raise TransientError(
                f"{what}: connection broke ({type(err).__name__}) at {scheme}://{host}:{port}; if it stays "
                "so, check the network, the proxy and HF_ENDPOINT (`zoo doctor` tries them)"
            ) from err
        except OfflineModeIsEnabled as err:
            raise SourceError(f"{what}: HF_HUB_OFFLINE is set; unset it to reach a Hub") from err
        except (httpx2.HTTPError, httpx2.InvalidURL) as err:
            raise SourceError(f"{what}: request impossible ({type(err).__name__})") from err

    def _pause(self, kind: RequestKind | None, what: str) -> None:
        """Waits as long as the pacing asks for; TransientError when that is too long."""
        wait = self.pacing.acquire(kind) if kind is not None else 0.0
        if wait > self.options.max_pause_s:
            raise TransientError(
                f"{what}: the Hub's budget of {kind} requests is spent for {wait:.0f} s; "
                "try again later"
            )
        if wait > 0.0:
            if wait >= _TOLD_FROM_S:
                tell(HubWait(wait))
            self._sleep(wait)

    def _headers(self, url: str) -> dict[str, str]:
        """The headers of a request, with the token where `url` is the endpoint's own."""
        token = env_token() if self.is_own(url) else None
        return build_hf_headers(token=token or False, library_name="spectral-zoo")

    def _json(
        self, url: str, params: Params, *, what: str, redirects_left: int = _MAX_REDIRECTS
    ) -> tuple[object, str | None]:
        """The JSON at `url` and the address of the next page."""
        with self.open("GET", url, kind="api", what=what, params=params) as response:
            if 300 <= response.status_code < 400:  # a renamed repository
                target = urljoin(url, response.headers.get("location", ""))
                if redirects_left == 0 or not self.is_own(target):
                    raise SourceError(f"{what}: redirected in a circle or off {self.endpoint}")
                return self._json(target, (), what=what, redirects_left=redirects_left - 1)
            if response.status_code != 200:
                raise status_error(response, what)
            raw = bytearray()
            for block in response.iter_bytes():
                raw += block
                if len(raw) > MAX_JSON_BYTES:
                    raise SourceError(
                        f"{what}: the reply is longer than {MAX_JSON_BYTES} bytes; refused"
                    )
            following = response.links.get("next", {}).get("url")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as err:
            # proxies answer 200 with a page of their own when they are in trouble
            raise TransientError(f"{what}: the reply is not JSON") from err
        if following is not None and not self.is_own(urljoin(url, following)):
            raise SourceError(f"{what}: the next page lies outside {self.endpoint}")
        return answer, urljoin(url, following) if following else None


def status_error(response: httpx2.Response, what: str) -> ZooError:
    """The error for a response that is no success, from its status and `X-Error-Code`."""
    status = response.status_code
    code = response.headers.get("x-error-code", "")
    message = response.headers.get("x-error-message", "")[:200]
    description = f"{what}: HTTP {status}" + (f" {code}" if code else "")
    description += f" ({message})" if message else ""
    has_token = "authorization" in response.request.headers
    if code == "GatedRepo":
        hint = "the token has no access" if has_token else "set HF_TOKEN"
        return GatedError(f"{description}; ask for access on the model's page; {hint}")
    if code == "RevisionNotFound":
        return NotFoundError(f"{description}; check branch, tag or commit")
    if code == "EntryNotFound":
        return NotFoundError(f"{description}; no such file at this revision")
    if code == "RepoNotFound" or status in {404, 410}:
        hint = "" if has_token else "; a private one needs HF_TOKEN"
        return NotFoundError(f"{description}; no such repository{hint}")
    if "is disabled" in message:
        return NotFoundError(f"{description}; the Hub has taken it down")
    if status in {401, 403}:
        return GatedError(
            f"{description}; " + ("the token has no access" if has_token else "set HF_TOKEN")
        )
    if status in {408, 425, 429} or status >= 500:
        return TransientError(description, wait_s=asked_wait(dict(response.headers)))
    if status == 416:
        return ChangedError(f"{description}; the file is shorter than it was")
    return SourceError(f"{description}; expected a success")


def _origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an address."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or _DEFAULT_PORTS.get(parts.scheme, 0),
    )
