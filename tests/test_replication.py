"""How often a layer is shuffled, and what several shuffles say together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from zoo.measure.layer import LayerMeasures, measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.replication import cauchy_combination, combined, near_p, standard_error

LEVEL = 0.01


def measured(w: torch.Tensor, **options: object) -> LayerMeasures:
    return measure_layer(
        w[None],
        options=AnalysisOptions(incumbent=False, **options),  # type: ignore[arg-type]
        seed_key=("w", "", "", "x"),
        storage_bits=32,
    )


def noise(seed: int, rows: int, cols: int) -> torch.Tensor:
    return torch.randn((rows, cols), generator=torch.Generator().manual_seed(seed))


def test_noise_is_shuffled_once_unless_its_first_shuffle_lies_near_the_threshold() -> None:
    rows = [measured(noise(seed, 150, 110)).columns for seed in range(60)]
    lengths = [len(row["trap_counts"]) for row in rows]  # type: ignore[arg-type]
    assert set(lengths) <= {1, 5}
    assert 0.02 < lengths.count(5) / len(lengths) < 0.25  # expected: one in ten


def test_a_clear_trap_takes_two_shuffles_and_one_near_the_threshold_five() -> None:
    clear, near = noise(1, 300, 150), noise(1, 300, 150)
    clear[3, 4], near[3, 4] = 80.0, 21.0
    assert measured(clear).columns["trap_counts"] == [1, 1]
    assert measured(clear).columns["num_traps_stderr"] == 0.0
    assert len(measured(near).columns["trap_counts"]) == 5  # type: ignore[arg-type]


def test_a_number_in_the_spec_is_kept() -> None:
    assert measured(noise(0, 150, 110), replicates=3).columns["trap_counts"] == [0, 0, 0]


def test_the_p_value_over_replicates_is_uniform_on_noise() -> None:
    p_values = [measured(noise(s, 130, 104), modes=False).columns["trap_p_value"]
                for s in range(300)]  # fmt: skip
    assert kstest(p_values, "uniform").pvalue > 0.01
    small = [measured(noise(s, 90, 60), modes=False).columns["trap_p_value"]
             for s in range(300)]  # fmt: skip
    assert kstest(small, "uniform").pvalue > 0.01


def test_stages_keep_the_p_value_uniform() -> None:
    rng = np.random.default_rng(0)
    near = near_p(LEVEL)

    def draw() -> float:
        first = float(rng.uniform())
        if first > near:
            return combined([first], near=near)
        return combined([first, *rng.uniform(size=4).tolist()], near=near)

    assert kstest([draw() for _ in range(20_000)], "uniform").pvalue > 0.01


@pytest.mark.parametrize("count", [2, 5])
def test_the_cauchy_combination_of_uniform_values_is_uniform_where_it_matters(count: int) -> None:
    rng = np.random.default_rng(count)
    values = [cauchy_combination(row) for row in rng.uniform(size=(20_000, count)).tolist()]
    for level in (0.01, 0.05, 0.3):
        share = sum(v <= level for v in values) / len(values)
        assert abs(share - level) < 4.0 * (level * (1.0 - level) / len(values)) ** 0.5


def test_tiny_p_values_keep_their_size() -> None:
    tiny = 2.2250738585072014e-308
    assert cauchy_combination([tiny] * 5) == pytest.approx(tiny, rel=1e-6)
    assert combined([tiny, tiny], near=0.1) == pytest.approx(tiny, rel=1e-6)
    assert combined([0.3], near=0.1) == 0.3


def test_one_quiet_shuffle_does_not_hide_four_clear_traps() -> None:
    assert cauchy_combination([1.0, 1e-12, 1e-12, 1e-12, 1e-12]) < 1e-11


def test_the_standard_error_is_that_of_a_mean() -> None:
    assert standard_error([2, 2, 1, 1, 1]) == pytest.approx(
        np.std([2, 2, 1, 1, 1], ddof=1) / 5**0.5
    )
    assert standard_error([3]) is None


def test_heavy_entries_raise_the_literal_count_and_not_the_calibrated_one() -> None:
    rng = np.random.default_rng(3)
    heavy = torch.from_numpy(rng.laplace(size=(400, 200)) ** 3).float()
    row = measured(heavy).columns
    assert row["num_traps_tw"] > row["num_traps"]  # type: ignore[operator]
    light = measured(noise(0, 300, 150)).columns
    assert light["num_traps_tw"] == light["num_traps"] == 0.0


def test_the_two_causes_of_traps_are_counted_apart() -> None:
    shifted, planted = noise(0, 300, 150) + 1.0, noise(0, 300, 150)
    planted[3, 4] = 80.0
    by_mean, by_entry = measured(shifted).columns, measured(planted).columns
    assert (by_mean["num_traps_mean"], by_mean["num_traps_entries"]) == (1.0, 0.0)
    assert (by_entry["num_traps_mean"], by_entry["num_traps_entries"]) == (0.0, 1.0)
    assert measured(planted, modes=False).columns["num_traps_mean"] is None
