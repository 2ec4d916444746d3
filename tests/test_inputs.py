"""Formulas called as a notebook would: any order, any type, or a refusal that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo.errors import ArgumentError, UseError
from zoo.spectral.clipped_tail import fit_clipped
from zoo.spectral.diagnostics import entry_statistics
from zoo.spectral.erg import erg, erg_size, mean_one
from zoo.spectral.farms import farms
from zoo.spectral.hill import alpha_hill
from zoo.spectral.incumbent import incumbent_fit
from zoo.spectral.inputs import spectrum_of, stack_of
from zoo.spectral.mp import edges, fit_bulk, ks_distance, mp_cdf, mp_pdf
from zoo.spectral.phase import htsr_phase
from zoo.spectral.scalars import matrix_entropy, scalars
from zoo.spectral.setol import (
    discrete,
    free_cauchy,
    inverse_mp,
    log10_levy_wigner,
    quality,
    r_transform,
)
from zoo.spectral.shuffled import ks_test, spectral_distance
from zoo.spectral.solve import eigenvalues
from zoo.spectral.tail_models import fit_tail_models
from zoo.spectral.tail_start import best_start, tail_alpha, tail_distance
from zoo.spectral.tails import NoTail, fit_tail, log_alpha_norm
from zoo.spectral.tracy_widom import johnstone, tw1_sf

N, M = 120, 60
MATRIX = np.random.default_rng(5).standard_t(3.0, (N, M))
EVALS = np.sort(np.linalg.svd(MATRIX, compute_uv=False) ** 2)

Formula = Callable[..., object]

FORMULAS: dict[str, Formula] = {
    "scalars": lambda x: scalars(x, n=N, m=M, storage_bits=32),
    "matrix_entropy": matrix_entropy,
    "fit_tail": lambda x: fit_tail(x, m=M, storage_bits=32),
    "fit_clipped": lambda x: fit_clipped(x, m=M, storage_bits=32),
    "tail_alpha": tail_alpha,
    "tail_distance": lambda x: tail_distance(x, 2.5),
    "log_alpha_norm": lambda x: log_alpha_norm(x, 2.5),
    "alpha_hill": alpha_hill,
    "fit_tail_models": fit_tail_models,
    "erg": lambda x: erg(x, xmin=float(EVALS[30]), num_tail=30),
    "erg_size": lambda x: erg_size(spectrum_of(x) / EVALS.mean()),
    "mean_one": lambda x: mean_one(x).tolist(),
    "quality": lambda x: quality(x, erg_num=30, alpha=2.5),
    "discrete": discrete,
    "free_cauchy": free_cauchy,
    "inverse_mp": lambda x: inverse_mp(x, alpha=2.5),
    "log10_levy_wigner": lambda x: log10_levy_wigner(x, alpha=2.5),
    "r_transform": r_transform,
    "fit_bulk": lambda x: fit_bulk(x, n=N, m=M),
    "ks_distance": lambda x: ks_distance(x, sigma=20.0, gamma=M / N),
    "ks_test": lambda x: ks_test(x, sigma=20.0, gamma=M / N),
    "incumbent_fit": lambda x: incumbent_fit(x, n=N, m=M),
    "spectral_distance": lambda x: spectral_distance(x, EVALS),
    "htsr_phase": lambda x: htsr_phase(
        x, n=N, m=M, matrix_rank=M, tail=NoTail("constant"), bulk=None
    ),
}
FORMS: dict[str, Callable[[NDArray[np.float64]], object]] = {
    "descending, as svd gives them": lambda x: x[::-1],
    "shuffled": lambda x: np.random.default_rng(0).permutation(x),
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(x.tolist()),
    "tensor": lambda x: torch.tensor(x).flip(0),
    "tensor with a gradient": lambda x: torch.tensor(x, requires_grad=True),
    "strided": lambda x: np.repeat(x, 2)[::2],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FORMULAS)
def test_any_order_and_any_container_give_the_same_bits(name: str, form: str) -> None:
    assert FORMULAS[name](FORMS[form](EVALS)) == FORMULAS[name](EVALS)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_is_computed_with_as_float64(name: str) -> None:
    single = EVALS.astype(np.float32)
    assert FORMULAS[name](single) == FORMULAS[name](single.astype(np.float64))


NONSENSE = {
    "nan": (np.r_[EVALS[:20], np.nan, EVALS[20:]], "NaN or Inf"),
    "inf": (np.r_[EVALS, np.inf], "NaN or Inf"),
    "negative": (np.r_[-1.0, EVALS[1:]], "squared singular values"),
    "a matrix": (MATRIX, r"shape \[120, 60\].*svd"),
    "a column": (EVALS[:, None], "shape"),
    "a number": (3.0, "shape"),
    "complex": (EVALS.astype(complex), "real numbers"),
    "text": ("abc", "real numbers"),
    "nothing": (None, "real numbers"),
}


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("name", FORMULAS)
def test_nonsense_is_refused_with_a_word_on_what_is_wanted(name: str, kind: str) -> None:
    values, words = NONSENSE[kind]
    with pytest.raises(ArgumentError, match=words):
        FORMULAS[name](values)


@given(st.lists(st.floats(0.0, 1e6), max_size=30), st.randoms())
def test_a_spectrum_is_sorted_and_kept(values: list[float], random: object) -> None:
    found = spectrum_of(values)
    assert found.dtype == np.float64 and sorted(values) == found.tolist()
    assert spectrum_of(found) is found  # what fits costs no copy


def test_rounding_below_zero_is_zero() -> None:
    assert spectrum_of([1.0, -1e-9]).tolist() == [0.0, 1.0]


def test_errors_are_use_errors_and_value_errors() -> None:
    assert issubclass(ArgumentError, UseError) and issubclass(ArgumentError, ValueError)


def test_best_start_refuses_another_order() -> None:
    """Its index would point into data that the caller does not have."""
    assert best_start(EVALS.tolist()) == best_start(EVALS)
    with pytest.raises(ArgumentError, match="sort them first"):
        best_start(EVALS[::-1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tail_alpha([2.0, 2.0]), "spread"),
        (lambda: tail_alpha([2.0]), "at least 2"),
        (lambda: tail_alpha([0.0, 2.0]), "xmin > 0"),
        (lambda: tail_distance(EVALS, 1.0), "above 1"),
        (lambda: alpha_hill([0.0, 0.0, 1.0]), "xmin > 0"),
        (lambda: matrix_entropy([0.0, 1.0]), "above_tolerance"),
        (lambda: log_alpha_norm([0.0], 2.0), "λ_max > 0"),
        (lambda: mean_one([]), "λ_max > 0"),
        (lambda: erg(EVALS, xmin=1.0, num_tail=None), "both of one tail fit"),
        (lambda: quality(EVALS, erg_num=61, alpha=2.0), "1 to 60"),
        (lambda: quality(EVALS, erg_num=0, alpha=2.0), "1 to 60"),
        (lambda: inverse_mp(EVALS, alpha=0.0), "above 0"),
        (lambda: discrete([]), "at least one"),
        (lambda: fit_bulk(EVALS, n=M, m=N), "larger side"),
        (lambda: incumbent_fit(EVALS, n=M, m=N), "larger side"),
        (lambda: edges(-1.0, 0.5), "sigma"),
        (lambda: mp_pdf(1.0, sigma=1.0, gamma=2.0), "1/q"),
        (lambda: mp_cdf([1.0], sigma=0.0, gamma=0.5), "sigma"),
        (lambda: spectral_distance(EVALS, EVALS[1:]), "60 and 59"),
        (lambda: spectral_distance([0.0, 0.0], [1.0, 2.0]), "all zero"),
        (lambda: johnstone(0, 5), "n ≥ m ≥ 1"),
        (lambda: tw1_sf(float("nan")), "NaN"),
        (lambda: farms([[1.0, np.nan]], storage_bits=64), "NaN or Inf"),
        (lambda: stack_of([1.0, 2.0]), "a matrix"),
        (lambda: stack_of([["a"]]), "real numbers"),
        (lambda: entry_statistics(MATRIX.astype(complex)), "real numbers"),
    ],
)
def test_arguments_out_of_range_are_refused(call: Formula, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()


def test_the_law_takes_numbers_lists_and_tensors() -> None:
    x = [0.5, 1.0, 2.0]
    for law in (mp_pdf, mp_cdf):
        expected = [float(law(v, sigma=1.0, gamma=0.5)) for v in x]
        assert law(x, sigma=1.0, gamma=0.5).tolist() == expected
        assert law(torch.tensor(x), sigma=1.0, gamma=0.5).tolist() == expected


@pytest.mark.parametrize(
    "matrix",
    [MATRIX, MATRIX.tolist(), torch.tensor(MATRIX), MATRIX[None], MATRIX.T[::-1]],
    ids=["array", "list", "tensor", "stack", "turned"],
)
def test_matrices_of_any_container(matrix: object) -> None:
    assert np.allclose(eigenvalues(matrix, storage_bits=64)[0], EVALS, rtol=1e-12)
    assert farms(matrix, storage_bits=64).num_windows == 2
    assert entry_statistics(matrix).weight_max_abs == np.abs(MATRIX).max()


def test_a_parameter_needs_no_detaching() -> None:
    weight = torch.nn.Linear(M, N).weight
    held = weight.detach().clone()
    assert entry_statistics(weight) == entry_statistics(held)
    assert farms(weight, storage_bits=32) == farms(held, storage_bits=32)
    assert eigenvalues(weight, storage_bits=32).shape == (1, M)
