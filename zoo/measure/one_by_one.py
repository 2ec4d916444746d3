"""The layers of one weight after the other, in the order of the files: how a processor measures, and a model
with its base. Each piece of a weight is loaded once for all its layers and dropped before the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from math import prod

import torch

from zoo.errors import DecodeError
from zoo.formats.weight import Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange
from zoo.layers.spec import LayerSpec
from zoo.measure.batch import measure_layers
from zoo.measure.deltas import measure_deltas
from zoo.measure.layer import LayerMeasures, failed_layer, measure_layer
from zoo.measure.memory import naming_shortage
from zoo.measure.pieces import Pieces
from zoo.measure.reports import LayerReport, report_of, shape_of
from zoo.options import AnalysisOptions


def measure_weight(
    pieces: Pieces, checkpoint: Checkpoint, base: Checkpoint | None, options: AnalysisOptions
) -> Iterator[LayerReport]:
    """The layers of a weight of `checkpoint`, and those of its difference to the one of `base`."""
    weight = pieces.weight
    for rows, specs in pieces.layers:
        with naming_shortage(weight, pieces.share(rows, prod(weight.shape))):
            yield from _measure_piece(pieces, rows, specs, checkpoint, base, options)


def _measure_piece(
    pieces: Pieces,
    rows: RowRange | None,
    specs: tuple[LayerSpec, ...],
    checkpoint: Checkpoint,
    base: Checkpoint | None,
    options: AnalysisOptions,
) -> Iterator[LayerReport]:
    """The layers of one piece of a weight, which is dropped before the next one is loaded."""
    weight = pieces.weight
    started = time.perf_counter()
    try:
        loaded = weight.load(checkpoint, rows)
    except DecodeError as error:
        for spec in specs:
            yield report_of(spec, failed_layer(shape_of(spec), f"undecodable: {error}"), 0.0, 0)
        return
    read_s = (time.perf_counter() - started) / len(specs)
    nbytes = pieces.share(rows, weight.nbytes) // len(specs)
    for spec, measures in _measure_specs(weight, loaded, rows, specs, options):
        yield report_of(spec, measures, read_s, nbytes)
    held = [loaded]
    del loaded
    of_base = pieces.of_base(rows, specs)
    if base is None or not of_base:
        return
    for delta in measure_deltas(held, rows, of_base, base, options):
        yield report_of(delta.spec, delta.measures, delta.read_s, delta.nbytes)


def _measure_specs(
    weight: Weight,
    loaded: torch.Tensor,
    rows: RowRange | None,
    specs: tuple[LayerSpec, ...],
    options: AnalysisOptions,
) -> Iterator[tuple[LayerSpec, LayerMeasures]]:
    """The layers cut out of a loaded piece; equal single matrices (experts, parts) go together."""
    for (slices, *_), group in groupby(specs, key=lambda s: (s.num_slices, s.rows, s.cols)):
        equal = tuple(group)
        cut = [spec.matrices(loaded, offset=rows[0] if rows else 0) for spec in equal]
        keys = [spec.seed_key for spec in equal]
        bits = weight.storage_bits
        if slices == 1:
            alone = [matrices[0] for matrices in cut]
            measures = measure_layers(alone, options=options, seed_keys=keys, storage_bits=bits)
            yield from zip(equal, measures, strict=True)
            continue
        for spec, matrices, key in zip(equal, cut, keys, strict=True):
            yield spec, measure_layer(matrices, options=options, seed_key=key, storage_bits=bits)
