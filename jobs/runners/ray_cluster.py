"""The Ray this process works on: one it was already in, one at an address, or one it starts and
looks after."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from jobs.runners.cluster_token import keep_private
from jobs.runners.ray_pool import fits
from zoo.errors import UseError

_MAX_REVIVALS = 3
"""Times that a Ray which this process started is started anew after it died under the work."""
_LIFELESS_S = 10.0
"""Without one worker for so long, a Ray of our own is asked whether it is still there."""
_OBJECT_STORE_BYTES = 100 << 20
"""Rows are kilobytes; Ray's default would reserve a third of the machine."""
_NODES_EVERY_S = 2.0
"""Between two questions which nodes there are."""
_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
"""Ray's own log goes nowhere: workers report by their results."""


class RayCluster:
    """Connected to Ray until it is closed."""

    def __init__(self, address: str | None, *, workers: int | None, cpus: int) -> None:
        """Join the Ray of this process, else the one at `address`, else start one with room for
        `workers` of `cpus` cores. UseError when nothing answers at `address`."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not address and "ray" not in sys.modules:
            keep_private(os.environ)
        import ray

        self._ray: Any = ray
        self._is_mine = not ray.is_initialized()
        """Connected by this object, and disconnected by it."""
        self._may_revive = self._is_mine and not address
        self._num_cpus = max((workers or 0) * cpus, os.cpu_count() or 1)
        self._num_revivals = 0
        self.is_elastic = bool(address)
        """It may get nodes, and lose them: it is not of this process's making."""
        self._nodes: Mapping[str, Mapping[str, float]] = {}
        self._nodes_s = -math.inf
        self._seen_alive_s = time.monotonic()
        if self._is_mine and address:
            self._join(address)
        elif self._is_mine:
            self._launch()

    def check_fits(self, wanted: Mapping[str, float]) -> None:
        """UseError when no worker fits that wants so much (`CPU`, `GPU`, bytes of `memory`)."""
        if not self.has_room(wanted):
            raise UseError(
                f"the cluster has {in_words(self.resources())}; one worker wants {in_words(wanted)}. "
                "Lower [run] cpus / gpus / memory, or add nodes"
            )

    def has_room(self, wanted: Mapping[str, float]) -> bool:
        """True when some node could hold a worker that wants so much, were it empty."""
        return any(fits(has, wanted) for has in self.nodes().values())

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        """What each living node has altogether, by its id; looked up anew every two seconds."""
        now_s = time.monotonic()
        if now_s - self._nodes_s > _NODES_EVERY_S:
            self._nodes_s = now_s
            self._nodes = {
                node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]
            }
        return self._nodes

    def resources(self) -> Mapping[str, float]:
        """What all nodes have together, by Ray's names."""
        resources: Mapping[str, float] = self._ray.cluster_resources()
        return resources

    def saw_worker(self) -> None:
        """A worker has answered just now."""
        self._seen_alive_s = time.monotonic()

    def revive(self) -> bool:
        """Start our own Ray anew if it is gone; its actors would wait for it for ever. True: it
        was.

        To be called while there is no worker. The raylet ends with any of its agents, and a killed
        one takes all workers with it; their tasks have come back as `node` by then. A cluster at an
        address may get other nodes: it is waited for. UseError when Ray dies time and again.
        """
        if not self._may_revive or time.monotonic() - self._seen_alive_s < _LIFELESS_S:
            return False
        self._seen_alive_s = time.monotonic()
        if any(node["Alive"] for node in self._ray.nodes()):
            return False
        self._num_revivals += 1
        if self._num_revivals > _MAX_REVIVALS:
            raise UseError(
                f"the Ray on this machine died {self._num_revivals} times; look at its logs and at the "
                "machine's memory, or use --runner local. The same command resumes"
            )
        self._ray.shutdown()
        self._launch()
        self._nodes_s = -math.inf
        return True

    def close(self) -> None:
        """Disconnect, which ends a Ray that was started here; one joined before is left running."""
        if self._is_mine and self._ray.is_initialized():
            self._ray.shutdown()

    def _join(self, address: str) -> None:
        try:
            self._ray.init(address=address, **_QUIET)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UseError(f"cannot reach a Ray cluster at {address!r}: {error}") from error

    def _launch(self) -> None:
        # Without address="local", ray.init joins whatever cluster the machine last ran.
        self._ray.init(
            address="local",
            num_cpus=self._num_cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **_QUIET,
        )


def in_words(resources: Mapping[str, float]) -> str:
    """Cores, GPUs and memory."""
    gib = resources.get("memory", 0) / 2**30
    return f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs, {gib:.1f} GiB"
