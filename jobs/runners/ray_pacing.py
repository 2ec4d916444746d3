"""Pacing of the Hub for a whole cluster: a named actor, shared by every runner on it.

One that is lost costs pacing, never a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.hub.pacing import Pause

_NAMESPACE = "spectral-zoo"
"""Where named actors of ours are found in a Ray that others use too."""
_NAME = "hub-pacing-2"
"""Ends in the version of its interface: the actor outlives the sweep that made it."""
_ANSWER_S = 10.0
"""The actor answers at once, or is being started anew on another node."""


class RayPacing:
    """A `Pacing` that asks the cluster's actor; without an answer nobody waits."""

    def __init__(self) -> None:
        self._actor = _start_actor()
        self._asked: Any = None
        """The answer to `pauses` that is on its way."""
        self._pauses: Mapping[str, Pause] = {}

    def restart(self) -> None:
        """Ask another actor from now on: the one before is gone with its Ray."""
        self._actor, self._asked = _start_actor(), None

    def acquire(self, kind: str) -> float:
        """See `Pacing.acquire`."""
        import ray

        try:
            return float(ray.get(self._actor.acquire.remote(kind), timeout=_ANSWER_S))
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return 0.0

    def observe(self, kind: str, status: int, headers: Mapping[str, str]) -> None:
        """See `Pacing.observe`; not waited for."""
        self._actor.observe.remote(kind, status, dict(headers))

    def pauses(self) -> Mapping[str, Pause]:
        """See `Pacing.pauses`; what the actor said to the question before this one, so that a driver
        never waits for it."""
        import ray

        if self._asked is None:
            self._asked = self._actor.pauses.remote()
        elif ray.wait([self._asked], timeout=0)[0]:
            answer, self._asked = self._asked, None
            try:
                self._pauses = dict(ray.get(answer))
            except ray.exceptions.RayActorError:  # it starts anew, and has heard of no pause yet
                self._pauses = {}
        return self._pauses


def _start_actor() -> Any:
    """The actor, started if it is not there. It stays when this process ends.

    It may lie on a node that dies; then it starts anew, and learns from the next reply what the Hub
    allows.
    """
    import ray

    from zoo.hub.pacing import HubPacing

    options = {
        "name": _NAME,
        "namespace": _NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
    }
    return ray.remote(HubPacing).options(**options).remote()
