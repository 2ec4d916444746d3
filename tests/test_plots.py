"""Pictures are drawn for every kind of layer, without warnings, and say what they show."""

from __future__ import annotations

import io
import itertools
import math
import sys
from dataclasses import asdict, dataclass

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.text import Text

from zoo.pictures.drawing import log_ticks, new_figure, set_title
from zoo.pictures.layers import draw_esd, draw_shuffled, layer_title, report_figures
from zoo.pictures.overview import alpha_by_depth, funnel
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


def words(figure: Figure) -> str:
    """Every text of a figure after drawing it."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def esd_figure(evals: np.ndarray, columns: dict[str, object], *, title: str) -> Figure:
    """The spectrum of a layer alone."""
    figure = new_figure(6.4, 4.6)
    draw_esd(figure.add_subplot(), evals, columns)
    set_title(figure, title)
    return figure


def shuffled_figure(
    evals: np.ndarray, rand_evals: np.ndarray, columns: dict[str, object], *, title: str
) -> Figure:
    """The shuffled spectrum of a layer alone."""
    figure = new_figure(6.4, 4.6)
    draw_shuffled(figure.add_subplot(), evals, rand_evals, columns)
    set_title(figure, title)
    return figure


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
    assert "power law" not in text
    assert ("1 eigenvalue |" if evals.size == 1 else f"{evals.size} eigenvalues") in text


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


@pytest.mark.parametrize(
    ("tensor", "shown"),
    [
        ("$a_b^c$.weight", "$a_b^c$.weight"),
        (r"$\frac{$.weight", r"$\frac{$.weight"),
        ("\u5c42.0.weight", r"\u5c42.0.weight"),
        ("a\nb\x00.weight", r"a\nb\x00.weight"),
        ("módèl/β.weight", "módèl/β.weight"),
    ],
)
def test_titles_are_the_name_itself(tensor: str, shown: str) -> None:
    """No mathematics, which a `$` would start or break, and no boxes and warnings for other scripts."""
    one = layer()
    assert one.spectrum is not None
    assert shown in words(esd_figure(one.spectrum.evals, one.columns, title=tensor))


def test_long_titles_keep_both_ends_within_the_picture() -> None:
    figure = new_figure(6.4, 4.6)
    set_title(figure, "model." + 40 * "encoder." + "query.weight (3 × 4)")
    text = words(figure)
    assert text.startswith("model.") and text.endswith("query.weight (3 × 4)") and "…" in text
    box = figure.findobj(lambda a: "…" in getattr(a, "get_text", str)())[0].get_window_extent()
    assert 0 < box.x0 and box.x1 < figure.bbox.x1


@pytest.mark.parametrize(
    ("low", "high"), [(3.5, 4.4), (18.0, 600.0), (6e61, 3e62), (1e-3, 20.0), (0.9, 1.1)]
)
def test_labels_of_a_logarithmic_axis_do_not_overlap(low: float, high: float) -> None:
    figure = new_figure(6.0, 4.6)
    axes = figure.add_subplot()
    axes.set(xscale="log", xlim=(low, high))
    log_ticks(axes.xaxis, low, high)
    words(figure)
    labels = [t for t in axes.get_xticklabels(which="both") if t.get_text()]
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.x0)
    inside = [b for b in boxes if axes.bbox.x0 <= 0.5 * (b.x0 + b.x1) <= axes.bbox.x1]
    assert len(inside) >= 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(inside))


def test_pictures_without_a_point_say_why() -> None:
    rows = [{"alpha": None, "status": "ok", "tail_status": "too_few"}] * 2
    rows += [{"alpha": None, "status": "failed", "tail_status": None}]
    for draw in (alpha_by_depth, funnel):
        text = words(draw(rows, title="model"))
        assert "no layer has a power-law fit" in text and "2 too_few" in text and "1 failed" in text
        assert "no layers" in words(draw([], title="model"))


def test_depth_without_blocks_counts_layers_and_shows_whole_error_bars() -> None:
    figure = alpha_by_depth([layer(0, block=None).columns], title="model")
    text, axes = words(figure), figure.axes[0]
    assert "order of the checkpoint" in text and "-0.25" not in text
    [bar] = [c for c in axes.containers if c.lines]
    assert bar.lines[0].get_xdata()[0] == 0.0  # one role stands on its tick, not beside it
    top = max(segment[:, 1].max() for segment in bar.lines[2][0].get_segments())
    assert top <= axes.get_ylim()[1]


def test_experts_of_a_block_stand_side_by_side() -> None:
    rows = [{**layer(3 * i, seed=i, block=1).columns, "expert": i} for i in range(8)]
    axes = alpha_by_depth(rows, title="model").axes[0]
    x = axes.containers[0].lines[0].get_xdata()
    assert len(set(x)) == 8 and max(abs(x - 1.0)) < 0.5


def test_titles_name_part_and_expert() -> None:
    columns = {"tensor": "a", "part": "up", "expert": 3, "num_rows": 2, "num_cols": 4}
    assert layer_title(columns) == "a · up · expert 3  (2 × 4)"


@pytest.mark.parametrize(("counts", "shown"), [([1, 3], "1 trap"), ([0], None), (None, "2 traps")])
def test_as_many_traps_are_marked_as_were_counted(
    counts: list[int] | None, shown: str | None
) -> None:
    """Of a matrix of two columns both shuffled eigenvalues may lie beyond the threshold; one counts."""
    columns = {"trap_threshold": 1.0, "trap_counts": counts}
    text = words(shuffled_figure(np.array([0.5, 4.0]), np.array([2.0, 3.0]), columns, title="two"))
    found = [word for word in text.split(" | ") if word.endswith(("1 trap", "2 traps"))]
    assert found == ([] if shown is None else [shown])
