"""Trap modes: singular triples, carried back, and what their shape says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.spectral.localisation import Localisation, Mode, outer_top_mass
from zoo.spectral.replicate import shuffle_slice
from zoo.spectral.shuffle import Permutation
from zoo.spectral.trap_modes import carry_back, leading_modes, localisation, top_sector

SHAPE = (120, 60)
PERMUTATION = Permutation(4, 120 * 60)


def with_large_entry() -> torch.Tensor:
    w = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    w[7, 11] = 40.0
    return w


def with_mean() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) + 1.0


def shape_of(w: torch.Tensor) -> Localisation:
    """The localisation of the largest trap of `w`."""
    rng = np.random.default_rng(0)
    mode = leading_modes(shuffle_slice(w, PERMUTATION), 1, rng=rng)[0]
    return localisation(mode, PERMUTATION, top_sector(w, rng=rng), rng=rng)


def test_modes_are_the_leading_singular_triples() -> None:
    moved = shuffle_slice(with_large_entry() + 0.7, PERMUTATION)
    u, s, vt = np.linalg.svd(moved.numpy().astype(float), full_matrices=False)
    for i, mode in enumerate(leading_modes(moved, 2, rng=np.random.default_rng(0))):
        assert mode.sigma == pytest.approx(s[i], rel=1e-5)
        assert abs(mode.left @ u[:, i]) == pytest.approx(1.0, abs=1e-4)
        assert abs(mode.right @ vt[i]) == pytest.approx(1.0, abs=1e-4)


def test_the_mode_is_carried_back_entry_by_entry() -> None:
    mode = Mode(2.0, np.eye(4)[1], np.eye(3)[2])
    permutation = Permutation(1, 12)
    back = carry_back(mode, permutation, (4, 3))
    assert permutation.apply(back.ravel()).reshape(4, 3)[1, 2] == 2.0
    assert np.count_nonzero(back) == 1


def test_a_large_entry_makes_a_localised_trap() -> None:
    shape = shape_of(with_large_entry())
    assert shape.ipr_left > 0.9 and shape.ipr_right > 0.9
    assert shape.localisation_q > 0.9
    assert shape.participation_ratio == pytest.approx(1.0, abs=0.05)
    assert shape.rank1_mass > 0.5
    assert shape.mean_overlap < 0.05
    assert shape.top_overlap > 0.5


def test_a_mean_makes_a_spread_trap_that_says_so() -> None:
    shape = shape_of(with_mean())
    assert shape.mean_overlap > 0.9
    assert shape.localisation_q < 0.05
    assert shape.ipr_left == pytest.approx(1 / 120, rel=0.2)
    assert shape.top5_mass < 0.12


def test_shares_lie_in_their_ranges() -> None:
    shape = shape_of(with_large_entry())
    assert 0.05 <= shape.top5_mass <= shape.top10_mass <= 1.0
    assert 0.0 < shape.rank1_mass <= 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_top_mass_is_that_of_all_products_sorted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal(37), rng.standard_cauchy(23)
    products = np.sort(np.abs(np.outer(u, v)).ravel())[::-1]
    expected = [products[: round(s * products.size)].sum() / products.sum() for s in (0.05, 0.1)]
    assert outer_top_mass(u, v, (0.05, 0.1)) == pytest.approx(expected, rel=1e-9)


def test_top_mass_survives_ties_and_zeros() -> None:
    assert outer_top_mass(np.ones(10), np.ones(10), (0.05,)) == pytest.approx([0.05])
    assert outer_top_mass(np.eye(10)[0], np.eye(10)[0], (0.05,)) == pytest.approx([1.0])


def test_the_mode_of_a_small_trap_beside_one_that_dwarfs_it_is_found() -> None:
    w = torch.randn((300, 200), generator=torch.Generator().manual_seed(0))
    w[1, 2], w[7, 9] = 3e4, 60.0
    _, small = leading_modes(w, 2, rng=np.random.default_rng(0))
    left, sigma, right = np.linalg.svd(w.double().numpy())
    assert small.sigma == pytest.approx(sigma[1], rel=1e-6)
    assert abs(small.left @ left[:, 1]) == pytest.approx(1.0, abs=1e-6)
    assert abs(small.right @ right[1]) == pytest.approx(1.0, abs=1e-6)


def test_the_top_sector_beside_a_direction_that_dwarfs_it_is_found() -> None:
    scales = torch.ones(200).index_put((torch.arange(10),), torch.linspace(8.0, 4.0, 10))
    scales[0] = 4e3
    w = torch.randn((300, 200), generator=torch.Generator().manual_seed(0)) * scales
    sector = top_sector(w, None, rng=np.random.default_rng(0))
    left, _, right = np.linalg.svd(w.double().numpy())
    assert np.sum((sector.left.T @ left[:, :10]) ** 2) == pytest.approx(10.0, abs=1e-2)
    assert np.sum((sector.right.T @ right[:10].T) ** 2) == pytest.approx(10.0, abs=1e-2)
