"""What only a card can show. Needs numpy, scipy, torch, jaxtyping, threadpoolctl and pytest, no more:

    python -m pytest --noconftest -c /dev/null --rootdir . -p no:cacheprovider -q tests/gpu

Skipped where torch sees no CUDA device.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.layer_kinds import layers_of_all_kinds
from tests.measured_alike import alone, assert_close, key, replaying
from zoo.machine.cusolver import batched_solver
from zoo.machine.helpers import Helpers
from zoo.machine.threads import set_threads
from zoo.measure import batch
from zoo.measure.batch import measure_layers, measure_on
from zoo.measure.layer import LayerMeasures
from zoo.options import AnalysisOptions
from zoo.spectral import philox
from zoo.spectral.batched_modes import shuffle_stack
from zoo.spectral.batched_solve import grams, symmetric_eigenvalues_of
from zoo.spectral.shuffle import Permutation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
OPTIONS = AnalysisOptions(device="cuda")
set_threads(1)


def card() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def on_card(stack: torch.Tensor, name: str, bits: int = 32) -> list[LayerMeasures]:
    keys = [key(name, number) for number in range(len(stack))]
    return list(
        measure_layers(stack.to(card()), options=OPTIONS, seed_keys=keys, storage_bits=bits)
    )


@pytest.mark.parametrize("name", layers_of_all_kinds())
def test_every_column_of_the_card_is_that_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replaying(monkeypatch)
    stack = layers_of_all_kinds()[name]
    bits = 64 if stack.dtype == torch.float64 else 32
    for number, measures in enumerate(on_card(stack, name, bits)):
        reference = alone(stack[number], name, number, bits=bits)
        assert_close(measures, reference, f"{name} {number}", but={"device"})


@pytest.mark.parametrize("seed", [0, 1, 2**128 - 1, 0x123456789ABCDEF0123456789ABCDEF])
def test_keys_and_order_are_those_of_the_cpu_to_the_bit(seed: int) -> None:
    cpu = torch.device("cpu")
    for size in (1, 2, 1000, 1_000_003):
        assert torch.equal(philox.keys(seed, size, card()).cpu(), philox.keys(seed, size, cpu))
        assert torch.equal(philox.order(seed, size, card()).cpu(), philox.order(seed, size, cpu))
    assert torch.equal(philox.uniform(seed, 999, card()).cpu(), philox.uniform(seed, 999, cpu))


def test_the_compiled_keys_are_in_use() -> None:
    assert philox._kernel(card()) is not None


def test_a_shuffled_stack_is_the_replayed_one() -> None:
    stack = torch.randn(3, 200, 300).to(torch.bfloat16)
    permutations = [Permutation(seed, 60_000, "philox") for seed in (5, 6, 7)]
    moved = shuffle_stack(stack.to(card()), permutations).cpu()
    for matrix, after, permutation in zip(stack, moved, permutations, strict=True):
        values = matrix.view(torch.int16).reshape(-1).numpy()
        assert (permutation.apply(values) == after.view(torch.int16).reshape(-1).numpy()).all()


@pytest.mark.parametrize(("count", "order"), [(64, 100), (16, 384), (8, 1100)])
def test_the_batched_solver_runs_and_is_exact(count: int, order: int) -> None:
    assert batched_solver(card()) is not None
    stack = torch.randn(count, order + 20, order, device=card())
    products = grams(stack, [0] * count)
    wanted = torch.linalg.eigvalsh(products[:2].cpu())
    values, solver = symmetric_eigenvalues_of(products)
    assert solver == "cusolver_batched"
    scale = float(wanted.max())
    assert (values[:2].cpu() - wanted).abs().max() < 1e-13 * scale
    assert bool(torch.isfinite(values).all())


def test_rows_name_the_solver_and_the_permutation() -> None:
    columns = on_card(torch.randn(16, 96, 64), "names")[0].columns
    assert (columns["device"], columns["permutation"], columns["batch_size"]) == (
        "cuda",
        "philox",
        16,
    )
    assert columns["solver"] == "cusolver_batched"
    assert on_card(torch.randn(1, 96, 64), "one")[0].columns["solver"] == "torch"


def test_the_same_batch_gives_the_same_numbers_twice() -> None:
    stack = torch.randn(16, 300, 200, generator=torch.Generator().manual_seed(1))
    timed = {"spectrum_s", "shuffle_s"}
    first, again = (
        [{c: v for c, v in m.columns.items() if c not in timed} for m in on_card(stack, "twice")]
        for _ in range(2)
    )
    assert first == again


def test_a_matrix_with_nan_fails_alone() -> None:
    stack = torch.randn(16, 120, 120)
    plain = on_card(stack, "nan")
    stack[3, 5, 5] = math.nan
    broken = on_card(stack, "nan")
    assert [m.columns["status"] for m in broken] == ["ok"] * 3 + ["failed"] + ["ok"] * 12
    assert broken[4].columns["alpha"] == plain[4].columns["alpha"]


def test_no_room_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = torch.randn(64, 384, 384, device=card())
    total = torch.cuda.get_device_properties(card()).total_memory
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + 300e6) / total)
    try:
        keys = [key("room", number) for number in range(64)]
        measured = list(
            measure_on(
                card(), stack, options=OPTIONS, seed_keys=keys, storage_bits=32, helpers=Helpers(0)
            )
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    sizes = {m.columns["batch_size"] for m in measured}
    assert len(measured) == 64
    assert max(sizes) < 64, sizes
    assert {m.columns["status"] for m in measured} == {"ok"}


def test_a_matrix_beyond_the_card_goes_to_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "device_bytes", lambda *_, **__: 10**15)
    (measures,) = on_card(torch.randn(1, 50, 40), "large")
    assert measures.columns["device"] == "cpu"
    assert measures.columns["reason"] == "on_cpu: 50 x 40 does not fit the accelerator"
