"""The watch as a callback of Lightning's `Trainer`."""

from __future__ import annotations

import os
from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        # the same class, in the package's older name
        from pytorch_lightning import Callback  # type: ignore[assignment]
    except ImportError as error:
        from zoo.errors import UseError

        raise UseError(
            "zoo.callbacks.LightningCallback needs Lightning: pip install lightning"
        ) from error

from zoo.callbacks.state import WatchState
from zoo.callbacks.watching import Watch


class LightningCallback(Callback):
    """Measures the weights at the start, every `every` optimizer steps and at the end, on global rank 0.

    Tensors go by the names of the LightningModule's state dict, as in its checkpoints. Other arguments are those
    of `zoo.callbacks.watch`.
    """

    def __init__(
        self,
        catalog: str | os.PathLike[str],
        *,
        every: int,
        model_id: str,
        **options: Any,
    ) -> None:
        super().__init__()
        self._catalog = catalog
        self._every = every
        self._model_id = model_id
        self._options = options
        self._watch: Watch | None = None
        self.state = WatchState()
        """That of the training under way, or of the last one."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the process beside the training; a checkpoint that it goes on from is loaded by now."""
        if not trainer.is_global_zero:
            return
        self._watch = Watch(
            pl_module, self._catalog, every=self._every, model_id=self._model_id, **self._options
        )
        self.state = self._watch.state
        self._watch.measure(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See `Watch.__call__`; batches whose gradients are only collected are no step."""
        if self._watch is not None:
            self._watch(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the last weights and wait for them."""
        if self._watch is not None:
            self._watch.close(trainer.global_step)
            self._watch = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The training failed or was interrupted."""
        if self._watch is not None:
            self._watch.abandon()
            self._watch = None
