"""The watch as a callback of `transformers.Trainer`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

try:
    from transformers import TrainerCallback
except ImportError as error:
    from zoo.errors import UseError

    raise UseError(
        "zoo.callbacks.TransformersCallback needs transformers: pip install transformers accelerate"
    ) from error

from zoo.callbacks.state import WatchState
from zoo.callbacks.watching import Watch


class TransformersCallback(TrainerCallback):
    """Measures the weights at the start, every `every` optimizer steps and at the end, on the main process.

    `model_id` is `local/` and the name of the output folder where it is not given, as a sweep over the
    checkpoints in it has; other arguments are those of `zoo.callbacks.watch`.
    """

    def __init__(
        self,
        catalog: str | os.PathLike[str],
        *,
        every: int,
        model_id: str | None = None,
        **options: Any,
    ) -> None:
        self._catalog = catalog
        self._every = every
        self._model_id = model_id
        self._options = options
        self._watch: Watch | None = None
        self.state = WatchState()
        """That of the training under way, or of the last one."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start the process beside the training; the weights as they are, also of a training that goes on."""
        if self._watch is not None:  # an earlier training that ended in an error
            self._watch.abandon()
            self._watch = None
        if not state.is_world_process_zero:
            return
        model_id = self._model_id or f"local/{Path(args.output_dir).resolve().name}"
        self._watch = Watch(
            more["model"], self._catalog, every=self._every, model_id=model_id, **self._options
        )
        self.state = self._watch.state
        self._watch.measure(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """See `Watch.__call__`."""
        if self._watch is not None:
            self._watch(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Measure the last weights and wait for them."""
        if self._watch is not None:
            self._watch.close(state.global_step)
            self._watch = None
