"""A batch on a device, made on the CPU, against layers measured one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.layer_kinds import layers_of_all_kinds
from tests.measured_alike import OPTIONS, SECONDS, alone, assert_close, key, replaying
from zoo.machine.helpers import Helpers
from zoo.measure import batch, device_batch, device_shuffles
from zoo.measure.batch import measure_on
from zoo.measure.layer import LayerMeasures
from zoo.options import AnalysisOptions
from zoo.spectral import batched_krylov, batched_modes, batched_solve

CPU = torch.device("cpu")
HERE = Helpers(0)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU replays the permutations of accelerators."""
    replaying(monkeypatch)


def together(
    stack: torch.Tensor, name: str, options: AnalysisOptions = OPTIONS, bits: int = 32
) -> list[LayerMeasures]:
    keys = [key(name, number) for number in range(len(stack))]
    return list(
        measure_on(CPU, stack, options=options, seed_keys=keys, storage_bits=bits, helpers=HERE)
    )


@pytest.fixture(autouse=True)
def overwriting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solvers leave nothing of what they are given, as those of accelerators do."""

    def values_of(matrices: torch.Tensor) -> tuple[torch.Tensor, batched_solve.Solver]:
        told = batched_solve.symmetric_eigenvalues_of(matrices)
        matrices.fill_(math.nan)
        return told

    def vectors_of(matrices: torch.Tensor) -> torch.Tensor:
        told = batched_solve.symmetric_eigenvectors_of(matrices).clone()
        matrices.fill_(math.nan)
        return told

    for module in (device_batch, device_shuffles, batched_krylov):
        monkeypatch.setattr(module, "symmetric_eigenvalues_of", values_of)
    for module in (batched_modes, batched_krylov):
        monkeypatch.setattr(module, "symmetric_eigenvectors_of", vectors_of)


@pytest.mark.parametrize("name", layers_of_all_kinds())
def test_a_layer_in_a_batch_is_the_layer_alone(replayed: None, name: str) -> None:
    stack = layers_of_all_kinds()[name]
    bits = 64 if stack.dtype == torch.float64 else 32
    for number, measures in enumerate(together(stack, name, bits=bits)):
        assert_close(measures, alone(stack[number], name, number, bits=bits), f"{name} {number}")


def test_the_slices_of_a_convolution_are_pooled_as_alone(replayed: None) -> None:
    stack = layers_of_all_kinds()["planted traps"].view(2, 2, 240, 120)
    for number, measures in enumerate(together(stack, "conv")):
        assert_close(measures, alone(stack[number], "conv", number), f"conv {number}")


@pytest.mark.parametrize("shuffle", ["top", "full", "none"])
def test_every_mode_of_shuffling_is_the_one_alone(
    replayed: None, monkeypatch: pytest.MonkeyPatch, shuffle: str
) -> None:
    monkeypatch.setattr(device_shuffles, "FULL_UP_TO", 64)  # so that tops are searched for
    options = replace(OPTIONS, shuffle=shuffle, replicates=2)
    stack = layers_of_all_kinds()["planted traps"]
    for number, measures in enumerate(together(stack, "top", options)):
        assert_close(measures, alone(stack[number], "top", number, options), f"{shuffle} {number}")


def test_the_tail_alone_is_the_tail_of_the_layer_alone() -> None:
    options = replace(OPTIONS, metrics="tail")
    for name in ("bfloat16", "extreme scales", "degenerate"):
        stack = layers_of_all_kinds()[name]
        for number, measures in enumerate(together(stack, name, options)):
            assert_close(measures, alone(stack[number], name, number, options), name)


def test_optional_fits_are_those_of_the_layer_alone() -> None:
    options = replace(
        OPTIONS, shuffle="none", farms=True, alternatives=True, clip_fingers=True, bootstrap=3
    )
    stack = layers_of_all_kinds()["heavy tails"]
    for number, measures in enumerate(together(stack, "fits", options)):
        assert_close(measures, alone(stack[number], "fits", number, options), "fits")


def test_a_layer_that_is_not_finite_fails_alone_and_moves_no_other() -> None:
    stack = layers_of_all_kinds()["square noise"]
    bad = stack.clone()
    bad[1, 0, 3], bad[1, 7, 7] = math.nan, math.inf
    before = bad.clone()
    plain, broken = together(stack, "nan"), together(bad, "nan")
    assert broken[1].columns["status"] == "failed"
    assert broken[1].columns["reason"] == f"non_finite: 2 of {128 * 128} entries"
    for number in (0, 2):
        ours = {c: v for c, v in plain[number].columns.items() if c not in SECONDS}
        assert ours == {c: v for c, v in broken[number].columns.items() if c not in SECONDS}
    assert torch.equal(bad.nan_to_num(9.0), before.nan_to_num(9.0))


def test_a_batch_without_a_finite_layer_has_nothing_but_failures() -> None:
    stack = torch.full((2, 30, 20), math.nan)
    assert [m.columns["status"] for m in together(stack, "none")] == ["failed", "failed"]


def test_rows_say_how_they_were_measured() -> None:
    stack = layers_of_all_kinds()["tiny"]
    columns = together(stack, "how")[0].columns
    assert (columns["solver"], columns["permutation"], columns["batch_size"]) == (
        "torch",
        "philox",
        4,
    )
    columns = alone(stack[0], "how", 0).columns
    assert (columns["solver"], columns["permutation"], columns["batch_size"]) == (
        "lapack",
        "fisher_yates",
        1,
    )


def test_where_a_batch_finds_no_room_its_halves_are_measured_and_at_last_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    measure_batch = batch.measure_batch

    def crowded(stack: torch.Tensor, **named: object) -> Iterator[LayerMeasures]:
        sizes.append(len(stack))
        if len(stack) > 1 or len(sizes) == 3:
            raise torch.OutOfMemoryError
        return measure_batch(stack, **named)

    monkeypatch.setattr(batch, "measure_batch", crowded)
    stack = layers_of_all_kinds()["square noise"]
    measured = together(stack, "room")
    assert sizes == [3, 2, 1, 1, 1]
    assert [m.columns["batch_size"] for m in measured] == [1, 1, 1]
    assert measured[0].columns["reason"] == "on_cpu: OutOfMemoryError on the accelerator"
    assert measured[0].columns["permutation"] == "fisher_yates"
    assert [m.columns["permutation"] for m in measured[1:]] == ["philox", "philox"]
    assert measured[1].columns["alpha"] == alone(stack[1], "room", 1).columns["alpha"]
