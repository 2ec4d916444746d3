"""Two ways of measuring the same layer, held against each other column by column."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch

from zoo.cells import cells
from zoo.measure import shuffles
from zoo.measure.layer import LayerMeasures, measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.shuffle import Permutation

OPTIONS = AnalysisOptions(device="cpu")
SECONDS = {"spectrum_s", "shuffle_s", "total_s"}
HOW = {"solver", "permutation", "batch_size"}
LOOSE = {
    # of vectors, which are found by iteration
    "localisation_q": 1e-2,
    "ipr_left": 1e-2,
    "ipr_right": 1e-2,
    "participation_ratio": 1e-2,
    "rank1_mass": 1e-4,
    "top_overlap": 1e-2,
    "top5_mass": 1e-4,
    "top10_mass": 1e-4,
    "mean_overlap": 1e-4,
    # of a singular matrix: rounding
    "lambda_min": math.inf,
}
"""Relative tolerance of a column; 1e-4 of the others."""


def key(name: str, number: int) -> tuple[str, ...]:
    """The seed key of a test's layer."""
    return (name, "", str(number), "shape")


def replaying(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the CPU replays the permutations of accelerators."""
    of = Permutation.of
    monkeypatch.setattr(
        shuffles.Permutation, "of", lambda *args, **named: of(*args, **{**named, "kind": "philox"})
    )


def alone(
    matrix: torch.Tensor, name: str, number: int, options: AnalysisOptions = OPTIONS, bits: int = 32
) -> LayerMeasures:
    """The layer measured by itself on the CPU."""
    matrices = matrix if matrix.ndim == 3 else matrix[None]
    return measure_layer(matrices, options=options, seed_key=key(name, number), storage_bits=bits)


def assert_close(
    ours: LayerMeasures, theirs: LayerMeasures, place: str, but: Collection[str] = ()
) -> None:
    """Every column of a layer and of its traps within the accuracy bar."""
    mine, reference = ours.columns, theirs.columns
    assert mine.keys() == reference.keys()
    for column in mine.keys() - SECONDS - HOW - set(but):
        value, wanted = mine[column], reference[column]
        rel = LOOSE.get(column, 1e-4)
        if isinstance(wanted, float) and isinstance(value, float) and math.isfinite(wanted):
            assert value == pytest.approx(wanted, rel=rel, abs=1e-9), (place, column)
        else:
            assert value == wanted, (place, column)
    assert len(ours.traps) == len(theirs.traps), place
    for one, other in zip(ours.traps, theirs.traps, strict=True):
        for column, wanted in cells(other).items():
            value = cells(one)[column]
            if isinstance(wanted, float) and isinstance(value, float):
                rel = LOOSE.get(column, 1e-3)
                assert value == pytest.approx(wanted, rel=rel, abs=1e-4), (place, column)
            else:
                assert value == wanted, (place, column)
