"""Can the Hub be reached, and what may the token do: for `zoo doctor`.

Two requests, once each, with short timeouts. The token itself appears nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zoo.errors import GatedError, ZooError
from zoo.hub.client import HubClient, HubOptions, default_endpoint, env_token
from zoo.hub.greeting import Greeting

_IMPATIENT: Final = HubOptions(connect_s=3.0, stall_s=5.0, attempts=1, max_pause_s=0.0)
"""A person waits for the answer: one try of a few seconds."""


@dataclass(frozen=True, slots=True)
class Health:
    """What two requests told."""

    endpoint: str
    """Address that was asked."""
    reached_s: float | None
    """Seconds until the first answer; None when there was none."""
    problem: str
    """Why the Hub was not reached; empty when it was."""
    scope: str | None
    """Role of the token (`read`, `write`, `fineGrained`, ...); None without a token, or unknown."""
    token_problem: str
    """Why the scope is not known; empty when it is, or when there is no token."""


def ask_hub(endpoint: str | None = None) -> Health:
    """The health of an endpoint (None: HF_ENDPOINT, else the public Hub). Never raises."""
    address = (endpoint or default_endpoint()).rstrip("/")
    client = HubClient(address, options=_IMPATIENT, greeting=Greeting(address))
    started = time.perf_counter()
    try:
        client.get_json(client.api_url("models"), (("limit", "1"),), what="listing")
    except ZooError as error:
        unknown = "the Hub was not reached" if env_token() else ""
        return Health(client.endpoint, None, str(error), None, unknown)
    seconds = time.perf_counter() - started
    if env_token() is None:
        return Health(client.endpoint, seconds, "", None, "")
    try:
        answer = client.get_json(client.api_url("whoami-v2"), what="token")
    except GatedError:
        return Health(client.endpoint, seconds, "", None, "the Hub does not know this token")
    except ZooError as error:
        return Health(client.endpoint, seconds, "", None, str(error))
    scope = _role(answer)
    return Health(client.endpoint, seconds, "", scope, "" if scope else "the Hub names no role")


def _role(answer: object) -> str | None:
    """`auth.accessToken.role` of the answer, as one plain word."""
    node = answer
    for key in ("auth", "accessToken", "role"):
        node = node.get(key) if isinstance(node, Mapping) else None
    is_word = isinstance(node, str) and node.isascii() and node.isalnum() and len(node) <= 32
    return str(node) if is_word else None
