"""Pictures are drawn for every kind of layer, without warnings, and say what they show."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import asdict, dataclass

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from zoo.plots import alpha_by_depth, esd_figure, funnel, report_figures, shuffled_figure
from zoo.spectral.erg import erg
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import TailFit, fit_tail


@dataclass(frozen=True)
class Layer:
    """A measured layer as plots see it."""

    columns: dict[str, object]
    spectrum: Spectrum | None
    rand_spectrum: Spectrum | None


def layer(index: int = 0, *, seed: int = 0, spike: float = 0.0, block: int | None = 3) -> Layer:
    rng = np.random.default_rng(seed)
    evals = np.sort(rng.lognormal(0, 1, 80))
    rand = np.linalg.svd(rng.standard_normal((80, 80)), compute_uv=False)[::-1] ** 2
    rand = np.sort(np.append(rand[:-1], rand[-1] + spike)) * evals.sum() / rand.sum()
    fit = fit_tail(evals, m=80, storage_bits=32)
    assert isinstance(fit, TailFit)
    columns = {
        "layer_index": index, "tensor": f"h.{index}.weight", "part": "q", "expert": None,
        "block": block, "role": ("q", "k", "v")[index % 3], "num_rows": 80, "num_cols": 80,
        "q": 1.0, "rand_mp_sigma": 1.0, "trap_threshold": 4.5 * float(rand.mean()),
        "num_traps": 1.0, **asdict(fit),
        **asdict(erg(evals, xmin=fit.xmin, num_tail=fit.num_tail)),
    }  # fmt: skip
    return Layer(columns, Spectrum.rounded(evals), Spectrum.rounded(rand))


def words(figure: object) -> str:
    """Every text of a figure after drawing it."""
    import matplotlib.text

    figure.savefig(io.BytesIO(), format="png", dpi=40)  # type: ignore[attr-defined]
    found = figure.findobj(matplotlib.text.Text)  # type: ignore[attr-defined]
    return " | ".join(text.get_text() for text in found)


def test_esd_shows_fit_xmin_and_erg_with_their_numbers() -> None:
    one = layer()
    assert one.spectrum is not None
    text = words(esd_figure(one.spectrum.evals, one.columns, title="a layer"))
    for word in (f"α = {one.columns['alpha']:.2f}", "xmin", "ERG", "80 eigenvalues", "a layer"):
        assert word in text


def test_traps_are_marked_on_the_shuffled_spectrum() -> None:
    one = layer(spike=200.0)
    assert one.spectrum is not None and one.rand_spectrum is not None
    figure = shuffled_figure(
        one.spectrum.evals, one.rand_spectrum.evals, one.columns, title="a layer"
    )
    assert "1 trap" in words(figure) and "Marchenko-Pastur law" in words(figure)


@pytest.mark.parametrize(
    "evals",
    [np.array([2.0]), np.full(30, 2.0), np.append(np.zeros(20), 5.0), np.geomspace(1e-30, 1, 50)],
    ids=["one value", "all equal", "rank one", "wide"],
)
def test_layers_without_a_fit_are_drawn_too(evals: np.ndarray) -> None:
    text = words(esd_figure(evals, {"alpha": None, "erg_lambda_min": 0.0}, title="odd"))
    assert "power law" not in text and f"{evals.size} eigenvalues" in text


def test_depth_and_funnel_count_fitted_layers_only() -> None:
    rows = [layer(i, seed=i, block=i // 3).columns for i in range(9)]
    rows += [{"alpha": None, "block": 1}, {"alpha": math.nan, "erg_delta": 1.0}]
    assert "(9 fitted layers)" in words(funnel(rows, title="model"))
    text = words(alpha_by_depth(rows, title="model"))
    assert "block" in text and "tail exponent" in text


def test_models_without_blocks_or_without_fits_have_pictures() -> None:
    for rows in ([], [layer(0, block=None).columns]):
        words(alpha_by_depth(rows, title="model"))
        words(funnel(rows, title="model"))


def test_report_has_a_picture_of_every_measured_layer() -> None:
    skipped = Layer({"layer_index": 2, "alpha": None}, None, None)
    figures = report_figures("model", [layer(0), layer(1, seed=1), skipped])
    assert set(figures) == {"alpha_by_depth", "funnel", "layer_000", "layer_001"}


def test_large_models_show_the_sixty_four_most_interesting_layers() -> None:
    layers = [layer(i, seed=i) for i in range(70)]
    for one in layers[:3]:
        one.columns["num_traps"] = 9.0
    figures = report_figures("model", layers)
    assert len(figures) == 66
    assert {"layer_000", "layer_001", "layer_002"} <= set(figures)


def test_no_global_matplotlib_state_is_touched() -> None:
    before = "matplotlib.pyplot" in sys.modules
    words(funnel([layer().columns], title="model"))
    assert ("matplotlib.pyplot" in sys.modules) == before
