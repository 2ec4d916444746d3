"""Signal over noise of a spectrum, and the rules that make layer-wise settings of it and of alpha."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zoo.errors import ArgumentError
from zoo.spectral.layerwise import (
    DECAY_RANGE,
    LR_RANGE,
    linear_scale,
    prune_ratios,
    top_share,
)
from zoo.spectral.mp import fit_bulk
from zoo.spectral.own import own_spectrum, own_tail
from zoo.spectral.snr import snr
from zoo.spectral.spectrum import Spectrum


def spectrum_program(matrix: np.ndarray) -> float:
    """`snr` of Spectrum's program, before it divides by the largest singular value, step by step."""
    values = np.linalg.svd(matrix, compute_uv=False)
    iqr = np.percentile(values, 75) - np.percentile(values, 25)
    short, long = sorted(matrix.shape)
    threshold = iqr / 1.349 * np.sqrt((1 + np.sqrt(short / long)) ** 2)
    return float(values[values > threshold].sum() / values[values <= threshold].sum())


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50)])
def test_spectrum_snr_is_that_of_spectrums_program(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal(shape) + 3.0 * np.outer(
        rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    )
    evals = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
    found = snr(evals, n=max(shape), m=min(shape), edge=None)
    assert found.spectrum_snr == pytest.approx(spectrum_program(matrix)) and found.mp_snr is None


def test_mp_snr_is_what_lies_above_the_edge_over_the_rest() -> None:
    found = snr(np.array([1.0, 1.0, 4.0, 100.0]), n=4, m=4, edge=4.0)
    assert found.mp_snr == pytest.approx(10.0 / (1.0 + 1.0 + 2.0))


def test_a_flat_spectrum_has_no_noise_below_spectrums_threshold() -> None:
    """Its interquartile range is 0, so all of it is signal: the ratio is absent, not infinite."""
    assert snr(np.ones(8), n=8, m=8, edge=0.5).spectrum_snr is None
    assert snr(np.ones(8), n=8, m=8, edge=0.5).mp_snr is None
    assert snr(np.ones(8), n=8, m=8, edge=1.0).mp_snr == 0.0


def test_noise_has_no_signal_and_a_spike_is_signal() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, 200))
    for matrix, is_noise in ((noise, True), (noise + 0.5, False)):
        evals = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
        law = fit_bulk(evals / evals.mean(), n=300, m=200)
        assert law is not None
        found = snr(evals, n=300, m=200, edge=law.edge_upper * evals.mean())
        assert found.mp_snr is not None and (found.mp_snr < 0.02) == is_noise


def test_the_ratios_are_the_same_at_any_scale_of_the_weights() -> None:
    values = np.sort(np.random.default_rng(1).lognormal(size=64))
    for exponent in (0, 12):
        spectrum = Spectrum(values.astype(np.float64), exponent)
        tail, _ = own_tail(spectrum, m=64, storage_bits=32, clip_fingers=False)
        own = own_spectrum(spectrum, tail, n=128, m=64, storage_bits=32, is_tail_only=False)
        if exponent == 0:
            first = own.snr
        assert own.snr == first and own.snr is not None and own.snr.mp_snr is not None


def test_tempbalance_maps_alpha_onto_half_to_one_and_a_half() -> None:
    """Eq. 2 with (s1, s2) = (0.5, 1.5): the smallest alpha gets 0.5, the largest 1.5 times the rate."""
    assert linear_scale([2.0, 3.0, 6.0], low=LR_RANGE[0], high=LR_RANGE[1]) == (0.5, 0.75, 1.5)
    assert linear_scale([3.0, 3.0], low=0.5, high=1.5) == (1.0, 1.0)


def test_alphadecay_decays_layers_with_light_tails_more() -> None:
    low, middle, high = linear_scale([2.0, 4.0, 6.0], low=DECAY_RANGE[0], high=DECAY_RANGE[1])
    assert (low, middle, high) == pytest.approx((2 / 3, (2 / 3 + 5) / 2, 5.0))


def test_alphapruning_keeps_the_sparsity_and_the_range() -> None:
    """At sparsity 0.7 and epsilon 0.3 equal layers get 0.49 to 0.91, as for LLaMA in the paper."""
    assert prune_ratios([2.0, 4.0], [10, 10], sparsity=0.7, epsilon=0.3) == pytest.approx(
        (0.49, 0.91)
    )
    sizes = [1, 3]
    ratios = prune_ratios([2.0, 4.0], sizes, sparsity=0.7, epsilon=0.3)
    assert ratios == pytest.approx((0.7 * 2.8 / 4.6, 1.3 * 2.8 / 4.6))
    assert sum(r * s for r, s in zip(ratios, sizes, strict=True)) == pytest.approx(0.7 * 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.9, "epsilon": 0.3}, "a layer would lose 1.17 of its parameters"),
        ({"sparsity": 1.0, "epsilon": 0.3}, "sparsity: got 1; wanted above 0 and below 1"),
        ({"sparsity": 0.5, "epsilon": 0.0}, "epsilon: got 0"),
    ],
)
def test_a_layer_cannot_lose_more_than_all(options: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        prune_ratios([2.0, 4.0], [10, 10], **options)


def test_spectrum_trains_a_share_of_every_kind() -> None:
    """A quarter of 8 of one kind are 2; of 3 of another kind at least 1; ties go to the earlier."""
    values = [1.0, 8.0, 2.0, 8.0, 3.0, 8.0, 4.0, 5.0, 0.1, 0.3, 0.2]
    kinds = ["q"] * 8 + ["k"] * 3
    chosen = top_share(values, kinds, share=0.25)
    assert [i for i, is_chosen in enumerate(chosen) if is_chosen] == [1, 3, 9]
    with pytest.raises(ArgumentError, match="share of layers: got"):
        top_share(values, kinds, share=1.5)
    assert math.prod(top_share(values, kinds, share=1.0))
