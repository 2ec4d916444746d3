"""One layer, measured whole: columns against plain formulas, determinism, every bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from zoo.cells import cells
from zoo.measure.layer import LayerMeasures, failed_layer, measure_layer, skipped_layer
from zoo.measure.row import Shape
from zoo.options import AnalysisOptions
from zoo.spectral.shuffled import ks_test, spectral_distance

TIMES = ("spectrum_s", "shuffle_s")


def measured(
    w: torch.Tensor, *, options: AnalysisOptions | None = None, key: str = "layer"
) -> LayerMeasures:
    return measure_layer(
        w,
        options=options or AnalysisOptions(),
        seed_key=("revision", key, "", ""),
        storage_bits=64 if w.dtype == torch.float64 else 32,
    )


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def numbers(found: LayerMeasures) -> dict[str, object]:
    return {k: v for k, v in found.columns.items() if k not in TIMES}


def test_columns_of_the_spectrum_follow_their_plain_formulas() -> None:
    w = noise(1, 90, 60)
    columns, evals = measured(w).columns, np.linalg.svd(w[0].numpy().astype(float))[1][::-1] ** 2
    assert columns["lambda_max"] == pytest.approx(evals[-1], rel=1e-6)
    assert columns["frobenius_norm_sq"] == pytest.approx(evals.sum(), rel=1e-6)
    assert columns["stable_rank"] == pytest.approx(evals.sum() / evals[-1], rel=1e-6)
    assert columns["num_evals"] == 60 and columns["q"] == 1.5 and columns["status"] == "ok"
    assert columns["rand_mp_edge_upper"] == pytest.approx(
        columns["rand_mp_sigma"] ** 2 * (1 + (60 / 90) ** 0.5) ** 2 * evals.mean(), rel=1e-6
    )


TAIL = AnalysisOptions(metrics="tail")


def test_the_tail_alone_has_the_numbers_of_the_whole_analysis_and_no_others() -> None:
    w = noise(1, 90, 60)
    alone, whole = numbers(measured(w, options=TAIL)), numbers(measured(w))
    found = {name for name, value in alone.items() if value is not None}
    assert all(alone[name] == whole[name] for name in found)
    assert {"alpha", "ks_distance", "log_norm", "stable_rank", "matrix_entropy"} <= found
    assert not {"weight_std", "erg_num", "mp_sigma", "num_traps", "htsr_phase"} & found


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_tail_alone_survives_extreme_scales(scale: float) -> None:
    plain, scaled = measured(noise(1, 90, 60), options=TAIL), noise(1, 90, 60) * scale
    found = measured(scaled, options=TAIL).columns["alpha"]
    assert found == pytest.approx(plain.columns["alpha"], rel=1e-5)


def test_the_tail_alone_counts_what_is_not_finite() -> None:
    w = noise(1, 30, 20)
    w[0, 1, :3] = float("nan")
    found = measured(w, options=TAIL).columns
    assert (found["status"], found["reason"]) == ("failed", "non_finite: 3 of 600 entries")


def test_noise_has_no_traps_and_fits_its_law() -> None:
    columns = measured(noise(1, 300, 150)).columns
    assert columns["num_traps"] == 0.0 and columns["num_traps_ww"] == 0
    assert columns["mp_sigma"] == pytest.approx(1.0, abs=0.01)
    assert columns["rand_ks_distance"] < 0.05 and columns["rand_ks_p_value"] > 0.9
    assert columns["htsr_phase"] == "random_like"


def test_a_planted_entry_is_a_trap_with_a_row() -> None:
    w = noise(1, 300, 150)
    w[0, 3, 4] = 80.0
    found = measured(w, options=AnalysisOptions(replicates=1))
    assert found.columns["trap_counts"] == [1]
    (row,) = map(cells, found.traps)
    assert (row["replicate"], row["trap_index"], row["verdict"]) == (0, 1, "unprobed")
    assert row["eigenvalue"] == pytest.approx(found.columns["rand_lambda_max"])
    assert row["excess_rel"] == found.columns["trap_excess_max"]
    assert row["ipr_left"] > 0.9 and row["jsd"] is None


def test_small_layers_get_five_shuffles() -> None:
    assert len(measured(noise(1, 40, 20)).columns["trap_counts"]) == 5


def test_replicates_can_be_asked_for() -> None:
    found = measured(noise(1, 200, 120), options=AnalysisOptions(replicates=3))
    assert found.columns["trap_counts"] == [0, 0, 0]


@pytest.mark.parametrize("shape", [(1, 130, 110), (9, 40, 24), (1, 24, 9)], ids=str)
def test_the_same_layer_has_the_same_bits_every_time(shape: tuple[int, int, int]) -> None:
    first = measured(noise(*shape))
    measured(noise(1, 64, 64, seed=5), key="other")
    second = measured(noise(*shape))
    assert numbers(first) == numbers(second) and first.traps == second.traps


def test_another_seed_shuffles_otherwise() -> None:
    w = noise(1, 120, 110)
    one, two = (measured(w, options=AnalysisOptions(seed=s)).columns for s in (0, 1))
    assert one["rand_lambda_max"] != two["rand_lambda_max"]
    assert one["alpha"] == two["alpha"]


@pytest.mark.parametrize("scale", [1e30, 1e-30, 2.0**-100])
def test_alpha_and_traps_do_not_change_with_scale(scale: float) -> None:
    w = noise(1, 150, 100) ** 3
    plain, large = measured(w).columns, measured((w.double() * scale).float()).columns
    assert large["alpha"] == pytest.approx(plain["alpha"], rel=1e-4)
    assert large["num_traps"] == plain["num_traps"]
    assert large["log_norm"] == pytest.approx(plain["log_norm"] + 2 * math.log10(scale), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_erg_tail_that_reaches_the_null_space_ends_in_zeros(dtype: torch.dtype) -> None:
    """Not in rounding noise, which made erg_log_ratio 35 and depended on the side of the matrix."""
    w = torch.cat((noise(1, 90, 300), noise(1, 90, 300)), dim=1).to(dtype)  # every row twice
    for matrix in (w, w.transpose(1, 2)):
        columns = measured(matrix).columns
        assert (columns["erg_num"], columns["erg_lambda_min"]) == (91, 0.0)
        assert columns["erg_log_ratio"] is None and columns["alpha"] is not None
        assert columns["erg_delta"] == pytest.approx(
            180 * columns["xmin"] / columns["frobenius_norm_sq"]
        )


@pytest.mark.parametrize("value", [0.3, 1.0])
def test_a_constant_matrix_has_an_erg_of_two(value: float) -> None:
    columns = measured(torch.full((1, 60, 40), value)).columns
    assert (columns["erg_num"], columns["erg_lambda_min"]) == (2, 0.0)


@pytest.mark.parametrize("exponent", [-1030, -1060])
def test_subnormal_float64_entries_are_measured(exponent: int) -> None:
    """-1060 leaves entries some 14 bits."""
    weights = noise(1, 80, 40).to(torch.float64)
    here = measured(weights).columns
    tiny = measured(torch.ldexp(weights, torch.tensor(exponent))).columns
    assert tiny["status"] == "ok"
    assert tiny["lambda_max"] is None and tiny["reason"] is not None
    for name in ("alpha", "weight_kurtosis", "trap_p_value", "erg_delta"):
        assert tiny[name] == pytest.approx(here[name], rel=0.05)


def test_subnormal_entries_are_measured() -> None:
    columns = measured(noise(1, 80, 40) * 1e-39).columns
    assert columns["status"] == "ok" and columns["alpha"] is not None
    assert columns["num_traps"] == 0.0


def test_entries_of_1e200_have_numbers_where_float64_reaches() -> None:
    w = noise(1, 80, 40).double()
    plain, large = measured(w).columns, measured(w * 1e200).columns
    assert large["alpha"] == pytest.approx(plain["alpha"], rel=1e-4)
    assert large["lambda_max"] is None
    assert large["reason"] == "out_of_range: lambda_max leaves float64, its logarithm does not"
    assert large["log_norm"] == pytest.approx(plain["log_norm"] + 400, abs=1e-5)
    assert large["num_traps"] == plain["num_traps"]


def test_eigenvalues_too_small_for_float64_are_null_and_not_zero() -> None:
    columns = measured(noise(1, 80, 40).double() * 1e-200).columns
    assert (columns["lambda_max"], columns["xmin"]) == (None, None)
    assert str(columns["reason"]).startswith("out_of_range")
    assert columns["log_spectral_norm"] == pytest.approx(-397.9, abs=1.0)


@pytest.mark.parametrize(
    "w",
    [
        torch.zeros(1, 30, 25),
        torch.ones(1, 30, 25),
        torch.outer(torch.arange(30.0), torch.ones(25))[None],
        torch.eye(25)[None],
        torch.ones(1, 1, 1),
        torch.ones(1, 1, 9),
        torch.tensor([[[1.0, -2.0]]]),
        noise(1, 2, 2),
        torch.zeros(4, 5, 1),
    ],
    ids=["zero", "constant", "rank-one", "identity", "1x1", "1xk", "1x2", "2x2", "zero-slices"],
)
def test_degenerate_matrices_have_finite_or_null_columns(w: torch.Tensor) -> None:
    columns = measured(w).columns
    assert columns["status"] == "ok"
    assert all(math.isfinite(v) for v in columns.values() if isinstance(v, float))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.uint8, torch.int32, torch.int64])
def test_integers_and_booleans_are_measured_as_numbers(dtype: torch.dtype) -> None:
    w = (noise(1, 60, 40) > 0).to(dtype)
    assert numbers(measured(w))["alpha"] == pytest.approx(
        measured(w.float()).columns["alpha"], rel=1e-6
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_entries_fail_the_layer_with_their_number(bad: float) -> None:
    w = noise(1, 32, 32)
    w[0, 0, :3] = bad
    found = measured(w)
    assert (found.columns["status"], found.columns["reason"]) == (
        "failed",
        "non_finite: 3 of 1024 entries",
    )
    assert found.columns["num_rows"] == 32 and found.columns["alpha"] is None
    assert found.spectrum is None and found.traps == ()


def test_an_empty_matrix_is_skipped() -> None:
    found = measured(torch.zeros(1, 0, 5))
    assert (found.columns["status"], found.columns["reason"]) == ("skipped", "empty")
    assert found.columns["q"] is None


def test_unmeasured_layers_have_every_column() -> None:
    names = set(measured(noise(1, 20, 20)).columns)
    assert set(failed_layer(None, "undecodable").columns) == names
    assert set(skipped_layer(Shape.of(1, 3, 4), "tied").columns) == names


def test_the_top_alone_finds_the_same_traps_and_leaves_the_rest_null() -> None:
    w = noise(1, 300, 150)
    w[0, 3, 4] = 80.0
    full, top = measured(w).columns, measured(w, options=AnalysisOptions(shuffle="top")).columns
    assert top["trap_counts"] == full["trap_counts"]
    assert top["rand_lambda_max"] == pytest.approx(full["rand_lambda_max"], rel=1e-5)
    nulls = ("rand_distance", "rand_ks_distance", "rand_ks_p_value", "num_traps_ww")
    assert all(top[name] is None for name in nulls)


def test_auto_takes_the_top_of_wide_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.measure.shuffles.FULL_SHUFFLE_UP_TO", 100)
    assert measured(noise(1, 130, 120)).rand_spectrum is None
    assert measured(noise(1, 130, 100)).rand_spectrum is not None


def test_without_a_shuffle_its_columns_are_null() -> None:
    columns = measured(noise(1, 50, 50), options=AnalysisOptions(shuffle="none")).columns
    assert columns["alpha"] is not None
    assert all(
        v is None for k, v in columns.items() if k.startswith(("rand_", "trap_", "num_traps"))
    )


def test_slices_of_a_kernel_are_one_layer() -> None:
    kernel = noise(32, 24, 3, 3)
    columns = measured(kernel.flatten(2).permute(2, 0, 1)).columns
    assert (columns["receptive_field"], columns["num_evals"]) == (9, 9 * 24)
    assert columns["frobenius_norm_sq"] == pytest.approx(float((kernel**2).sum()), rel=1e-5)


def test_the_distance_of_spectra_is_that_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    p, q = np.sort(np.random.default_rng(0).pareto(2.0, (2, 100)), axis=1)
    assert spectral_distance(p, q) == pytest.approx(jensenshannon(p, q))
    assert spectral_distance(p, p) == pytest.approx(0.0, abs=1e-7)


def test_another_law_has_a_small_p_value() -> None:
    evals = np.sort(np.random.default_rng(0).pareto(1.5, 300))
    assert ks_test(evals / evals.mean(), sigma=1.0, gamma=0.5)[1] < 1e-6


def test_spectra_are_what_the_catalog_stores() -> None:
    found = measured(noise(1, 120, 110))
    assert found.spectrum is not None and found.rand_spectrum is not None
    for spectrum in (found.spectrum, found.rand_spectrum):
        assert np.array_equal(spectrum.evals.astype(np.float32).astype(float), spectrum.evals)


def test_a_layer_without_a_tail_says_why() -> None:
    few = measured(noise(1, 30, 12)).columns
    assert few["reason"] == "too_few: 12 eigenvalues above the rank tolerance, a tail needs 20"
    equal = measured(torch.eye(40)[None]).columns
    assert equal["reason"] == "constant: all eigenvalues are equal, which have no tail"
