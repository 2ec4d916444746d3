"""A Ray that this process starts answers to this process alone: on loopback, to a token nobody else has.

Whoever reaches a Ray can run any code on it. Ray is not imported here: it reads these variables when it is
first imported.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping

_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""What Ray calls the switch, on any system, between the address of this machine and that of loopback."""


def keep_private(environment: MutableMapping[str, str]) -> None:
    """Have a Ray that is started with `environment` listen on loopback and ask for a token, unless the user has
    set these variables otherwise.

    Without a token of the user's a new one is made, which lives in the environment of this process and
    its children, and in no file.
    """
    environment.setdefault(_SEVERAL_MACHINES, "0")
    if environment.setdefault(_MODE, "token") != "token":
        return
    if not environment.get(_TOKEN) and not environment.get(_TOKEN_PATH):
        environment[_TOKEN] = secrets.token_hex(32)
