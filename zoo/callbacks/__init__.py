"""Watches a training: every so many steps the spectra and traps of its weights go to a catalog.

    from zoo.callbacks import TransformersCallback, LightningCallback, watch

    Trainer(..., callbacks=[TransformersCallback("results", every=500)])
    lightning.Trainer(..., callbacks=[LightningCallback("results", every=500, model_id="local/run")])

    with watch(model, "results", every=500, model_id="local/run") as watching:
        for step, batch in enumerate(batches, start=1):
            ...
            watching(step)

All three copy the weights out and go on; a process beside the training measures them. See
`docs/training.md`. The adapters load their framework when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.callbacks.for_lightning import LightningCallback
    from zoo.callbacks.for_transformers import TransformersCallback
    from zoo.callbacks.state import TrapOnsetWarning, WatchState
    from zoo.callbacks.watching import Watch, watch

_HOMES = {
    "LightningCallback": "zoo.callbacks.for_lightning",
    "TransformersCallback": "zoo.callbacks.for_transformers",
    "TrapOnsetWarning": "zoo.callbacks.state",
    "Watch": "zoo.callbacks.watching",
    "WatchState": "zoo.callbacks.state",
    "watch": "zoo.callbacks.watching",
}

__all__ = [
    "LightningCallback", "TransformersCallback", "TrapOnsetWarning", "Watch", "WatchState", "watch",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(
            f"module 'zoo.callbacks' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
