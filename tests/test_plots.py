"""Pictures are drawn for every kind of layer, without warnings, and say what they show."""

from __future__ import annotations

import io
import itertools
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from zoo.errors import UseError, ZooError
from zoo.pictures.album import Picture, album, layer_name
from zoo.pictures.drawing import log_ticks, new_figure, set_title
from zoo.pictures.labels import Block, label_points, outliers, short_name
from zoo.pictures.layers import draw_esd, draw_shuffled, layer_title
from zoo.pictures.overview import alpha_by_depth, funnel
from zoo.pictures.panels import MAX_PANELS
from zoo.pictures.press import print_pictures
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
    assert "funnel of 9 fitted layers" in words(funnel(rows, title="model"))
    text = words(alpha_by_depth(rows, title="model"))
    assert "block" in text and "tail exponent" in text


def test_models_without_blocks_or_without_fits_have_pictures() -> None:
    for rows in ([], [layer(0, block=None).columns]):
        words(alpha_by_depth(rows, title="model"))
        words(funnel(rows, title="model"))


def names(pictures: tuple[Picture, ...]) -> list[str]:
    return [picture.name for picture in pictures]


SKIPPED = Layer({"layer_index": 2, "tensor": "h.2.bias", "alpha": None}, None, None)
DEFAULT = ["all_layers", "alpha_by_depth", "funnel"]


@pytest.mark.parametrize(
    ("layers", "singles"),
    [
        ((), []),
        ("*", ["layer_000_h.0.weight_q", "layer_001_h.1.weight_q"]),
        (["h.1.*", 1, "1"], ["layer_001_h.1.weight_q"]),
    ],
)
def test_layers_get_pictures_of_their_own_on_request(
    layers: list[str | int], singles: list[str]
) -> None:
    pictures = album("acme/model", [layer(0), layer(1, seed=1), SKIPPED], layers)
    assert names(pictures) == [*DEFAULT, *singles]
    for picture in pictures:
        assert "acme/model" in words(picture.draw())


@pytest.mark.parametrize("wanted", ["h.9.*", 2, "h.2.bias"])
def test_a_layer_that_cannot_be_drawn_is_named(wanted: str | int) -> None:
    with pytest.raises(UseError, match=r"fits no measured layer; wanted .* \(h\.0\.weight"):
        album("model", [layer(0), SKIPPED], [wanted])


def test_one_picture_shows_all_layers_with_alpha_and_traps() -> None:
    text = words(album("model", [layer(i, seed=i) for i in range(11)])[0].draw())
    assert text.count("α ") == 11 and "▼ 1 trap" in text and "spectra of 11 layers" in text


def test_large_models_show_the_most_interesting_layers_and_say_how_many() -> None:
    layers = [layer(i, seed=i % 5) for i in range(MAX_PANELS + 3)]
    for one in layers:
        one.columns["num_traps"] = 0.0
    layers[7].columns["num_traps"] = 9.0
    figure = album("model", layers)[0].draw()
    text = words(figure)
    assert f"{MAX_PANELS} of {MAX_PANELS + 3} layers" in text and "7  h.7 q" in text
    assert len(figure.axes) == MAX_PANELS


def test_models_without_a_measured_layer_have_pictures() -> None:
    for reports in ([], [SKIPPED]):
        for picture in album("model", reports):
            words(picture.draw())


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("a/b c.weight", "layer_007_a_b_c.weight_up_expert3"),
        ("../../etc/passwd", "layer_007_.._.._etc_passwd_up_expert3"),
        ("\u5c42\x00", "layer_007___up_expert3"),
        (400 * "x", f"layer_007_{120 * 'x'}_up_expert3"),
    ],
)
def test_names_of_files_tell_layer_and_tensor_and_stay_in_the_folder(
    tensor: str, name: str
) -> None:
    assert layer_name({"layer_index": 7, "tensor": tensor, "part": "up", "expert": 3}) == name


def test_pictures_are_written_by_other_processes(tmp_path: Path) -> None:
    pictures = album("model", [layer(i, seed=i) for i in range(4)], "*")
    files = print_pictures(pictures, tmp_path / "new" / "folder")
    assert list(files) == names(pictures)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files.values())
    assert sorted(files.values()) == sorted((tmp_path / "new" / "folder").iterdir())


def test_a_folder_that_cannot_be_written_to_is_named_by_the_worker(tmp_path: Path) -> None:
    (tmp_path / "funnel.png").mkdir()
    with pytest.raises(UseError, match="for pictures: Is a directory; wanted a folder"):
        print_pictures(album("model", [layer(0)]), tmp_path)


def test_a_picture_that_fails_is_an_error_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"drawing pictures failed: [\s\S]*TypeError"):
        print_pictures([Picture("broken", alpha_by_depth)], tmp_path)  # type: ignore[arg-type]


def test_outliers_lie_beyond_the_fences_the_furthest_first() -> None:
    assert outliers([1.0, 2.0, 3.0, 4.0, 90.0, -50.0]) == [4, 5]
    assert outliers([1.0, 100.0]) == [] and outliers([5.0] * 9) == []


def test_outliers_are_labelled_in_depth_and_funnel() -> None:
    rows = [layer(i, seed=i, block=i // 3).columns for i in range(9)]
    rows[4]["alpha"] = 30.0
    assert "h.4 q" in words(alpha_by_depth(rows, title="model"))
    assert "h.4 q" in words(funnel(rows, title="model"))


def test_labels_meet_no_point_no_label_and_no_block() -> None:
    rng = np.random.default_rng(0)
    figure = new_figure(6.0, 5.0)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    x, y = rng.uniform(1, 9, 12), rng.uniform(1, 9, 12)
    axes.set(xlim=(0, 10), ylim=(0, 10))
    labels = [(i, f"layer.{i}.weight") for i in range(12)]
    label_points(axes, x, y, labels, avoid=[Block(4, 4, 6, 6)])
    words(figure)
    figure.set_dpi(120)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) >= 8
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = axes.transData.transform(np.column_stack([x, y]))
    assert not any(box.contains(*point) for box in boxes for point in points)
    block = axes.transData.transform([(4, 4), (6, 6)])
    assert not any(box.overlaps(Bbox(block)) for box in boxes)


def test_short_names_keep_the_end() -> None:
    columns = {"tensor": "model.layers.12.self_attn.qkv.weight", "part": "q", "expert": None}
    assert short_name(columns, 12) == "…_attn.qkv q"
    assert short_name(columns, pieces=2) == "self_attn.qkv q"


def test_legends_stand_off_the_data() -> None:
    one = layer(spike=200.0)
    figure = album("model", [one], "*")[-1].draw()
    words(figure)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1.0
        assert axes.get_legend().get_window_extent().y1 < figure.bbox.y1 - 30.0  # below the title


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
