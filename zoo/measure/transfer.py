"""Stored bytes on their way to an accelerator: through pinned memory, on a stream of their own.

So that copies and decoding run beside the computation. On the CPU nothing is moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from zoo.formats.on_device import decodes_on_device
from zoo.io.checkpoint import Checkpoint
from zoo.machine.device import is_device_shortage
from zoo.measure.plan import Load


class Transfer:
    """Brings loads of a checkpoint to `device`. For one thread."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._stored = checkpoint
        self._moved = checkpoint.moved(self._to_device)
        self._device = device
        self._stream = _new_stream(device) if device.type == "cuda" else None

    def matrices(self, load: Load, *, fits: tuple[bool, ...]) -> list[torch.Tensor]:
        """The layers of `load`, `[num_slices, rows, cols]` each, in memory of their own; those that do not fit
        into the accelerator's memory, and all where it has none left now, in the machine's.

        Raises what `Weight.load` does. The values are the same wherever they are decoded.
        """
        if self._device.type == "cpu" or not any(fits):
            return _cut(load, load.weight.load(self._stored, load.rows))
        if decodes_on_device(load.weight):
            try:
                with self._working():
                    whole = load.weight.load(self._moved, load.rows)
                    cut = _cut(load, whole)
                    del whole
                return cut
            except RuntimeError as error:
                if not is_device_shortage(error):
                    raise
            torch.cuda.empty_cache()
        cut = _cut(load, load.weight.load(self._stored, load.rows))
        try:
            with self._working():
                return [
                    self._to_device(matrices) if is_for_device else matrices
                    for matrices, is_for_device in zip(cut, fits, strict=True)
                ]
        except RuntimeError as error:
            if not is_device_shortage(error):
                raise
        return cut

    def _to_device(self, values: torch.Tensor) -> torch.Tensor:
        """A copy on the device, under way; the pinned memory is kept until it is there."""
        if self._stream is None:
            return values
        pinned = values.pin_memory() if values.numel() else values
        return pinned.to(self._device, non_blocking=True)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """What runs in it runs on the stream of copies, and is done at its end."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()


def _new_stream(device: torch.device) -> torch.cuda.Stream:
    made: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own stubs
    return made


def hand_over(tensors: Iterable[torch.Tensor]) -> None:
    """The calling thread's stream takes over tensors made on another: their memory is not given to others
    before its work on them is done."""
    for tensor in tensors:
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))


def _cut(load: Load, whole: torch.Tensor) -> list[torch.Tensor]:
    """The layers of a load, none of which keeps the others in memory."""
    offset = load.rows[0] if load.rows else 0
    cut = [spec.matrices(whole, offset=offset) for spec in load.specs]
    return [part if part.numel() == whole.numel() else part.clone() for part in cut]
