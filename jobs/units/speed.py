"""How fast this machine is, beside the one that the costs of `jobs.units.plan` were measured on.

A fifth of a second of the mathematics that a sweep spends its time on, once a machine: what came out is kept
in the user's cache folder. Loads no torch, so that a plan of headers stays quick.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from pathlib import Path

from zoo.machine.threads import set_threads

REFERENCE_S = 0.0037
"""CPU seconds that `_work` takes once on the machine of the costs."""
_SPENT_S = 0.2
"""CPU seconds of the measurement, about."""
_SIDE = 256
"""Order of the eigenvalue problem."""
_BOUNDS = (0.1, 20.0)
"""What a machine may be, as a factor; beyond it the clock was wrong."""


def slowness(cache: Path | None = None) -> float:
    """CPU seconds that work takes here for one second there. `cache`: folder to keep it in; None: the
    user's own."""
    file = (cache or _user_cache()) / "speed.json"
    machine = _machine()
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        known = float(json.loads(file.read_text()).get(machine))
        if _BOUNDS[0] <= known <= _BOUNDS[1]:
            return known
    measured = min(max(measure() / REFERENCE_S, _BOUNDS[0]), _BOUNDS[1])
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a fifth of a second
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f"speed.{os.getpid()}.tmp")
        aside.write_text(json.dumps({machine: measured}))
        aside.replace(file)
    return measured


def measure() -> float:
    """CPU seconds of one piece of work: the least of several, as neighbours only slow it down."""
    import numpy as np
    from scipy.linalg import eigvalsh

    set_threads(1)
    matrix = np.random.default_rng(0).standard_normal((4 * _SIDE, _SIDE))
    taken: list[float] = []
    while sum(taken) < _SPENT_S:
        started = time.process_time()
        eigvalsh(matrix.T @ matrix, check_finite=False)
        taken.append(time.process_time() - started)
    return min(taken)


def _machine() -> str:
    """Tells machines that share a home folder apart."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        models = [line for line in text.splitlines() if line.startswith("model name")]
        return _digest(platform.node(), *models[:1])
    return _digest(platform.node(), platform.processor())


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "spectral-zoo"
