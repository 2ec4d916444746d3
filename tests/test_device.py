"""Devices: the choice, the fall back to the CPU, and the accelerator's code run on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import UseError
from zoo.machine.device import choose_device, with_cpu_fallback
from zoo.measure import batch
from zoo.measure.batch import measure_layers
from zoo.options import AnalysisOptions
from zoo.spectral.krylov import Operator
from zoo.spectral.solve import _eigenvalues_on, eigenvalues

CPU = torch.device("cpu")
OPTIONS = AnalysisOptions(device="cpu")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_auto_is_the_cpu_and_cuda_an_error() -> None:
    assert choose_device("auto") == CPU
    with pytest.raises(UseError, match="sees no CUDA device"):
        choose_device("cuda:0")


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(UseError, match="expected 'auto', 'cpu', 'cuda'"):
        choose_device("gpu")


def test_memory_running_out_on_the_accelerator_moves_the_work_to_the_cpu() -> None:
    def work(device: torch.device) -> str:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return device.type

    assert with_cpu_fallback(work, torch.device("cuda", 0)) == ("cpu", CPU)


@pytest.mark.parametrize("shape", [(3, 40, 20), (3, 20, 40)], ids=str)
def test_the_batched_solve_agrees_with_the_cpu(shape: tuple[int, int, int]) -> None:
    stack = noise(*shape)
    ours = eigenvalues(stack, storage_bits=32, device=CPU)
    values, solver = _eigenvalues_on(stack, exponent=0, device=CPU)
    assert (values, solver) == (pytest.approx(ours, rel=1e-9), "torch")
    scaled, _ = _eigenvalues_on(stack * 2.0**100, exponent=100, device=CPU)
    assert scaled == pytest.approx(ours, rel=1e-9)


def test_the_accelerators_products_are_those_of_the_cpu() -> None:
    w, x = noise(60, 30), np.ones((30, 2), dtype=np.float32)
    operator = Operator(w)
    gram = operator._cuda(x, lambda rows, b: rows.T @ (rows @ b), joined=False)
    assert gram == pytest.approx(operator.gram_times(x), rel=1e-4)
    assert operator._cuda(x, lambda rows, b: rows @ b, joined=True) == pytest.approx(
        operator.times(x), rel=1e-4
    )


def test_the_experts_of_a_stack_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    one_by_one = batch._one_by_one

    def counted(matrices: list[torch.Tensor], *rest: object) -> object:
        sizes.append(len(matrices))
        return one_by_one(matrices, *rest)

    monkeypatch.setattr(batch, "_one_by_one", counted)
    stack = {"model.layers.0.mlp.experts.down_proj": noise(4, 32, 24)}
    assert len(zoo.analyze(stack, options=OPTIONS).layers) == 4
    assert sizes == [4]


def test_every_matrix_needs_its_seed_key() -> None:
    with pytest.raises(ValueError, match="2 seed keys for 3 matrices"):
        list(
            measure_layers(
                list(noise(3, 5, 5)), options=OPTIONS, seed_keys=[("a",)] * 2, storage_bits=32
            )
        )


def test_several_threads_measure_several_layers_at_a_time_and_change_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = list(noise(7, 60, 40))
    keys = [("r", "experts", "", str(number)) for number in range(7)]

    def columns() -> list[dict[str, object]]:
        measured = measure_layers(stack, options=OPTIONS, seed_keys=keys, storage_bits=32)
        timed = {"spectrum_s", "shuffle_s"}
        return [{c: v for c, v in m.columns.items() if c not in timed} for m in measured]

    one_by_one, before = columns(), torch.get_num_threads()
    monkeypatch.setattr(batch, "_threads", lambda matrices: 3)
    assert columns() == one_by_one
    assert torch.get_num_threads() == before


def test_layers_measured_at_a_time_are_bounded_by_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert batch._threads([torch.zeros(64, 64)] * 40) == 16
    assert batch._threads([torch.zeros(64, 64)] * 2) == 2
    assert batch._threads([torch.empty(2880, 2880, device="meta")] * 40) == 5
    assert batch._threads([]) == batch._threads([torch.zeros(0, 4)]) == 1
