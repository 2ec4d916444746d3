"""Equal layers of a model, measured together.

On an accelerator a whole batch goes through every step at once (`device_batch`); on the CPU they are measured one after
the other. The members of a batch follow from the order in which they are given, their shape and the card alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import torch
from jaxtyping import Shaped

from zoo.machine.cusolver import CusolverError
from zoo.machine.device import choose_device
from zoo.machine.helpers import Helpers, shared_helpers
from zoo.machine.threads import one_thread_each
from zoo.measure.device_batch import measure_batch
from zoo.measure.layer import LayerMeasures, as_float, measure_layer, remarked
from zoo.options import AnalysisOptions
from zoo.spectral.batch_sizes import batch_size, device_bytes, memory_class

_THREADS_BYTES = 512 << 20
"""What layers that are measured at a time on the CPU may take together, beside their matrices."""
_BYTES_AN_ENTRY = 12
"""Bytes an entry that measuring a layer takes: its shuffle, its Gram matrix, and blocks of it."""

Layers = Sequence[Shaped[torch.Tensor, "*shape"]] | Shaped[torch.Tensor, "layers *shape"]
"""Equal layers, one by one or as one tensor: matrices [rows, cols], or slices [k, rows, cols] that are pooled."""


def measure_layers(
    matrices: Layers,
    *,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
) -> Iterator[LayerMeasures]:
    """Measure each of the equal `matrices` as a layer; one seed key each.

    They may be on any device. On an accelerator the first batch has gone through it when this returns, and the results
    wait for helper processes: whoever asks for the next batch before taking these keeps the device busy.
    """
    if len(seed_keys) != len(matrices):
        raise ValueError(f"{len(seed_keys)} seed keys for {len(matrices)} matrices; give one each")
    device = choose_device(options.device)
    if device.type == "cpu" or not len(matrices) or matrices[0].numel() == 0:
        return _one_by_one(matrices, options, seed_keys, storage_bits)
    if device.index is None:
        device = torch.device(device.type, torch.cuda.current_device())
    size = _layers_a_batch(matrices[0], device)
    if size == 0:
        why = f"{_shape(matrices[0])} does not fit the accelerator"
        return _on_cpu(matrices, options, seed_keys, storage_bits, why)
    starts = range(0, len(matrices), size)
    begun = (
        measure_on(
            device,
            matrices[start : start + size],
            options=options,
            seed_keys=seed_keys[start : start + size],
            storage_bits=storage_bits,
            helpers=shared_helpers(),
        )
        for start in starts
    )
    return _one_ahead(next(begun), begun)


def measure_on(
    device: torch.device,
    matrices: Layers,
    *,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
    helpers: Helpers,
) -> Iterator[LayerMeasures]:
    """Measure equal layers as one batch on `device`. Where they find no room, in halves, and at last on the CPU."""
    try:
        return measure_batch(
            _stacked(matrices, device),
            options=options,
            seed_keys=seed_keys,
            storage_bits=storage_bits,
            helpers=helpers,
        )
    except (torch.OutOfMemoryError, CusolverError) as error:
        why = f"{type(error).__name__} on the accelerator"
    # not while the exception is alive, which holds every tensor of the batch
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(matrices) == 1:
        return _on_cpu(matrices, options, seed_keys, storage_bits, why)
    half = -(-len(matrices) // 2)
    begun = [
        measure_on(
            device,
            matrices[part],
            options=options,
            seed_keys=seed_keys[part],
            storage_bits=storage_bits,
            helpers=helpers,
        )
        for part in (slice(None, half), slice(half, None))
    ]  # at once, by the thread that owns the device, not by whoever takes the results
    return chain.from_iterable(begun)


def _layers_a_batch(matrix: Shaped[torch.Tensor, "*shape"], device: torch.device) -> int:
    """Layers like this one that go together; 0 where the card has no room for a single one."""
    total = torch.cuda.get_device_properties(device).total_memory
    rows, cols = matrix.shape[-2:]
    k = matrix.numel() // (rows * cols)
    order, longer = min(rows, cols), max(rows, cols)
    if device_bytes(k, order, longer, itemsize=matrix.element_size()) > 0.9 * total:
        return 0
    return max(1, batch_size(order, memory_class(total), longer=longer) // k)


def _stacked(matrices: Layers, device: torch.device) -> Shaped[torch.Tensor, "layers k rows cols"]:
    """The layers as one tensor on the device; the tensor itself where it is one."""
    if isinstance(matrices, torch.Tensor) and matrices.device == device:
        stack = as_float(matrices.detach())
    else:
        first = matrices[0]
        stack = torch.empty((len(matrices), *first.shape), dtype=first.dtype, device=device)
        for place, matrix in zip(stack, matrices, strict=True):
            place.copy_(matrix.detach(), non_blocking=True)
        stack = as_float(stack)
    return stack[:, None] if stack.ndim == 3 else stack


def _one_ahead(
    first: Iterator[LayerMeasures], others: Iterator[Iterator[LayerMeasures]]
) -> Iterator[LayerMeasures]:
    """All layers in order; a batch is begun before those of the one before it are waited for."""
    for later in others:
        yield from first
        first = later
    yield from first


def _one_by_one(
    matrices: Layers,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
) -> Iterator[LayerMeasures]:
    """On the CPU, in order: one at a time, or as many as there are mathematics threads and room for."""

    def measured(matrix: torch.Tensor, key: tuple[str, ...]) -> LayerMeasures:
        return measure_layer(
            matrix if matrix.ndim == 3 else matrix[None],
            options=options,
            seed_key=key,
            storage_bits=storage_bits,
        )

    layers = zip(matrices, seed_keys, strict=True)
    threads = _threads(matrices)
    if threads < 2:
        for matrix, key in layers:
            yield measured(matrix, key)
        return
    waiting: deque[Future[LayerMeasures]] = deque()
    with one_thread_each() as begin, ThreadPoolExecutor(threads, initializer=begin) as pool:
        for matrix, key in layers:
            waiting.append(pool.submit(measured, matrix, key))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _threads(matrices: Layers) -> int:
    """Layers that are measured at a time on the CPU: shuffles and small solves use one thread each, however many a
    library is allowed."""
    if not len(matrices) or matrices[0].numel() == 0:
        return 1
    room = _THREADS_BYTES // (_BYTES_AN_ENTRY * matrices[0].numel())
    return min(torch.get_num_threads(), len(matrices), room)


def _on_cpu(
    matrices: Layers,
    options: AnalysisOptions,
    seed_keys: Sequence[tuple[str, ...]],
    storage_bits: int,
    why: str,
) -> Iterator[LayerMeasures]:
    """One after the other on the CPU; every row says why."""
    alone = _one_by_one(
        [matrix.cpu() for matrix in matrices],
        replace(options, device="cpu"),
        seed_keys,
        storage_bits,
    )
    for measures in alone:
        yield remarked(measures, f"on_cpu: {why}")


def _shape(matrix: Shaped[torch.Tensor, "*shape"]) -> str:
    return " x ".join(map(str, matrix.shape))
