"""Prototypes: which inputs are images, what is carried back to them, and when there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from catalog.read.views import connect
from jobs.probe.prototypes import stored_prototypes
from tests.conftest import Zoo
from tests.models import write_model
from zoo.errors import UseError
from zoo.io.memory import memory_checkpoint
from zoo.measure.model import Model, model_of
from zoo.options import LayerSelection
from zoo.pictures.prototypes import prototype_grid
from zoo.probes.prototypes import chain_of, parse_shape, prototypes, shape_of_width


def model(tensors: dict[str, torch.Tensor]) -> Model:
    return model_of(memory_checkpoint(tensors), LayerSelection(), revision="memory")


def perceptron() -> dict[str, torch.Tensor]:
    """The second layer sees one unit of the first, whose weights are a bright square; one entry is a trap."""
    torch.manual_seed(0)
    square = torch.zeros(12, 12)
    square[4:8, 4:8] = 1.0
    first, second = torch.randn(40, 144) * 0.01, torch.randn(30, 40) * 0.01
    first[7] = square.flatten()
    second[:, 7] += 1.0
    second[3, 5] = 2.0
    return {"fc1.weight": first, "fc2.weight": second, "fc2.bias": torch.zeros(30)}


def test_a_direction_of_the_second_layer_is_carried_back_to_the_pixels() -> None:
    weights = perceptron()
    first, second = prototypes(model(weights), {1: [1]}, shuffle_seed=0)
    assert (first.tensor, second.tensor) == ("fc1.weight", "fc2.weight")
    right = torch.linalg.svd(weights["fc2.weight"].double())[2][0]
    pixels = (right @ weights["fc1.weight"].double()).view(12, 12).numpy()
    image = second.prototypes[0].image[0]
    assert np.allclose(np.abs(image), np.abs(pixels)) and image.flat[np.abs(image).argmax()] > 0
    assert image[4:8, 4:8].min() > 10 * np.abs(image[0]).max()
    assert second.prototypes[0].caption.startswith("v1  σ")


def test_a_trap_of_one_large_entry_is_the_unit_that_it_stands_at() -> None:
    weights = perceptron()
    *_, trap = prototypes(model(weights), {1: [1]}, shuffle_seed=0)[1].prototypes
    assert trap.caption.startswith("trap 1  λ")
    unit = weights["fc1.weight"][5].double().numpy()
    alike = np.corrcoef(trap.image.ravel(), unit)[0, 1]
    assert abs(alike) > 0.3  # the mode is not of that entry alone


def test_the_first_convolution_over_an_image_is_seen_by_its_kernels() -> None:
    kernels = torch.randn(16, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    tensors = {"conv1.weight": kernels, "conv2.weight": torch.randn(8, 16, 3, 3)}
    (layer,) = prototypes(model(tensors), {}, shuffle_seed=0)
    assert layer.tensor == "conv1.weight" and layer.prototypes[0].image.shape == (3, 5, 5)
    assert prototypes(model({"conv.weight": torch.randn(8, 16, 3, 3)}), {}, shuffle_seed=0) == []


@pytest.mark.parametrize(
    ("width", "shape"),
    [
        (784, (1, 28, 28)),
        (64, (1, 8, 8)),
        (3072, (3, 32, 32)),
        (49, None),
        (100, (1, 10, 10)),
        (120, None),
    ],
)
def test_which_widths_are_images(width: int, shape: tuple[int, int, int] | None) -> None:
    assert shape_of_width(width) == shape


def test_layers_of_a_transformer_are_no_chain() -> None:
    block = [("q", 64, 64), ("v", 64, 64), ("gate", 256, 64), ("up", 256, 64), ("down", 64, 256)]
    assert chain_of(block) == []
    assert chain_of([("fc10.weight", 5, 7), ("fc2.weight", 7, 9)]) == ["fc2.weight", "fc10.weight"]


@pytest.mark.parametrize("text", ["28", "axb", "0x9", "1x2x3x4", ""])
def test_a_shape_that_is_none_is_said(text: str) -> None:
    with pytest.raises(UseError, match="28x28"):
        parse_shape(text)
    assert parse_shape("3x32x16") == (3, 32, 16) and parse_shape("28X28") == (1, 28, 28)


def test_the_grid_has_an_image_a_direction() -> None:
    grey, colour = np.ones((1, 4, 4)), np.ones((3, 2, 2))
    figure = prototype_grid(
        [("fc1", [("v1", grey), ("trap 1", grey)]), ("$x", [("v1", colour)])], title="m"
    )
    assert len(figure.axes) == 3 and all(len(axes.images) == 1 for axes in figure.axes)
    assert any("framed" in text.get_text() for text in figure.texts)


def test_show_draws_them_from_the_weights_that_were_swept(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says why not, once these are others; a model over no image has none, unsaid."""
    folder, catalog = tmp_path / "mlp", tmp_path / "catalog"
    tensors = {name: tensor.numpy() for name, tensor in perceptron().items()}
    write_model(folder, tensors)
    write_model(tmp_path / "plain", {"a.weight": np.eye(30, 40, dtype=np.float32) + 1})
    assert zoo("sweep", folder, tmp_path / "plain", "--out", catalog, "-j", "1", "--quiet") == 0
    assert zoo("show", catalog, "local/mlp", "--plot", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures" / "prototypes.png").exists()
    assert zoo("show", catalog, "mlp", "--plot", tmp_path / "p", "--plot-input", "9x9") == 2
    assert "fc1.weight takes 144" in capsys.readouterr().err
    write_model(folder, {name: value + 1 for name, value in tensors.items()})
    with connect(str(catalog)) as con:
        assert stored_prototypes(con, "local/plain", None)[1:] == ([], None)
        _, shown, why = stored_prototypes(con, "local/mlp", None)
        assert shown == [] and why is not None and "not what was swept any more" in why
