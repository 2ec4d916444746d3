"""What a network's leading directions look like as inputs: its prototypes, as pictures (papers' appendices).

Of a perceptron with matrices W₁, W₂, ...: the leading right singular vectors v of W_l, and the leading right
singular vector of each trap's mode carried back to the original entries, taken through the matrices in front of
the layer: vᵀ W_{l−1} ··· W₁ is a vector of the input's space. What lies between the matrices is left out: it is a
view, not a derivative. Of a convolution that sees the input: the leading right singular vectors of its kernels,
channels × height × width.

A singular vector has no sign of its own: here its entry of the largest magnitude is positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt, prod

import numpy as np
import torch
from jaxtyping import Float64

from zoo.errors import UseError
from zoo.layers.spec import LayerSpec
from zoo.measure.model import Model
from zoo.probes.modes import shuffled_modes
from zoo.probes.plain import natural
from zoo.spectral.arrays import Doubles, Vector
from zoo.spectral.shuffle import Permutation

NUM_LEADING = 6
"""Singular vectors of a layer that are shown."""
MAX_TRAPS = 4
"""Trap modes of a layer that are shown, the largest."""
MAX_LAYERS = 6
"""Layers of a perceptron that are shown, the first ones."""
_SMALLEST_SIDE = 8
"""Fewer pixels a side are no image."""

Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True)
class Prototype:
    """One direction of the input's space, as a picture."""

    caption: str
    """Which one: `v1  σ 4.2`, `trap 1  λ 8.3`."""
    image: Float64[Doubles, "channels height width"]


@dataclass(frozen=True, slots=True)
class LayerPrototypes:
    """The pictures of one layer, most important first: singular vectors, then traps."""

    tensor: str
    prototypes: tuple[Prototype, ...]


def parse_shape(text: str) -> Shape:
    """`28x28` or `3x32x32`: channels, height and width. UseError for anything else."""
    pieces = text.lower().split("x")
    if len(pieces) not in (2, 3) or not all(p.isascii() and p.isdigit() and int(p) for p in pieces):
        raise UseError(f"got {text!r} for the shape of the input; wanted 28x28 or 3x32x32")
    sizes = [int(piece) for piece in pieces]
    return (1, sizes[0], sizes[1]) if len(sizes) == 2 else (sizes[0], sizes[1], sizes[2])


def shape_of_width(width: int) -> Shape | None:
    """The image behind so many input features: a square in grey (784 = 28×28), else in three colours (3,072 =
    3×32×32), of 8 pixels a side or more; None where they are neither."""
    for channels in (1, 3):
        side = isqrt(width // channels)
        if width == channels * side * side and side >= _SMALLEST_SIDE:
            return channels, side, side
    return None


def chain_of(layers: Sequence[tuple[str, int, int]]) -> list[str]:
    """Tensors of (name, outputs, inputs) in the order of their names, if each takes what the one before
    gives; else none."""
    ordered = sorted(layers, key=lambda layer: natural(layer[0]))
    is_chain = all(first[1] == second[2] for first, second in pairwise(ordered))
    return [name for name, _, _ in ordered] if is_chain else []


def prototypes(
    model: Model,
    traps: Mapping[int, Sequence[int]],
    *,
    shuffle_seed: int,
    shape: Shape | None = None,
) -> list[LayerPrototypes]:
    """The prototypes of a perceptron or of the first convolution of a model; none where the input is no image.

    `traps`: layer_index -> trap indices of the first shuffle, from 1; `shuffle_seed`: the user's seed of the sweep
    that found them. `shape`: of the input; None: by `shape_of_width`. UseError when it does not fit.
    """
    specs = [s for s in model.specs if s.delta_base is None and s.is_measurable and s.weight]
    kernels = [s for s in specs if s.weight is not None and len(s.weight.shape) == 4]
    if kernels:
        first = min(kernels, key=lambda s: natural(s.tensor))
        return [_of_kernel(model, first)] if _sees_an_image(first) else []
    plain = {
        s.tensor: s for s in specs if s.part is None and s.expert is None and s.rows and s.cols
    }
    names = chain_of([(name, s.rows or 0, s.cols or 0) for name, s in plain.items()])
    if len(plain) != len(specs) or not names:
        return []
    width = plain[names[0]].cols or 0
    place = shape or shape_of_width(width)
    if place is None:
        return []
    if prod(place) != width:
        size = "×".join(map(str, place))
        raise UseError(
            f"got {size} for the shape of the input; {names[0]} takes {width:,} features"
        )
    return _of_chain(model, [plain[name] for name in names], traps, place, shuffle_seed)


def _of_chain(
    model: Model,
    specs: Sequence[LayerSpec],
    traps: Mapping[int, Sequence[int]],
    shape: Shape,
    seed: int,
) -> list[LayerPrototypes]:
    back: torch.Tensor | None = None
    layers: list[LayerPrototypes] = []
    for spec in specs[:MAX_LAYERS]:
        matrix = spec.load(model.checkpoint)[0]
        work = matrix.to(torch.float64)
        shown = [
            Prototype(caption, _image(vector, back, shape))
            for caption, vector in (
                *_leading(work, NUM_LEADING),
                *_trap_vectors(matrix, spec, traps.get(spec.layer_index, ()), seed),
            )
        ]
        layers.append(LayerPrototypes(spec.tensor, tuple(shown)))
        back = work if back is None else work @ back
    return layers


def _of_kernel(model: Model, spec: LayerSpec) -> LayerPrototypes:
    assert spec.weight is not None
    kernel = spec.weight.load(model.checkpoint).to(torch.float64)
    _, channels, height, width = kernel.shape
    vectors = _leading(kernel.flatten(1), NUM_LEADING + MAX_TRAPS)
    shape = (channels, height, width)
    images = (Prototype(caption, _image(vector, None, shape)) for caption, vector in vectors)
    return LayerPrototypes(spec.tensor, tuple(images))


def _sees_an_image(spec: LayerSpec) -> bool:
    """True of a kernel over one to four channels and more than one pixel, stored [out, in, height, width]."""
    if spec.weight is None or spec.cut.kernel != "trailing" or spec.weight.decoder != "none":
        return False
    _, channels, height, width = spec.weight.shape
    return channels <= 4 and height > 1 and width > 1


def _leading(matrix: torch.Tensor, count: int) -> list[tuple[str, Vector]]:
    """The leading right singular vectors, with their singular values."""
    _, sigmas, right = torch.linalg.svd(matrix, full_matrices=False)
    return [
        (f"v{rank + 1}  σ {float(sigmas[rank]):.3g}", right[rank].numpy())
        for rank in range(min(count, len(sigmas)))
        if sigmas[rank] > 0
    ]


def _trap_vectors(
    matrix: torch.Tensor, spec: LayerSpec, traps: Sequence[int], seed: int
) -> list[tuple[str, Vector]]:
    """The leading right singular vector of each trap's mode, carried back to where the entries were."""
    if not traps:
        return []
    permutation = Permutation.of(spec.seed_key, 0, 0, seed, size=matrix.numel())
    modes = shuffled_modes(matrix, permutation)
    vectors: list[tuple[str, Vector]] = []
    for index in sorted(traps)[:MAX_TRAPS]:
        mode = torch.from_numpy(np.asarray(modes.carried(index - 1), dtype=np.float64))
        ((_, vector),) = _leading(mode, 1)
        vectors.append((f"trap {index}  λ {modes.eigenvalue(index - 1):.3g}", vector))
    return vectors


def _image(
    vector: Vector, back: torch.Tensor | None, shape: Shape
) -> Float64[Doubles, "channels height width"]:
    pixels = vector if back is None else vector @ back.numpy()
    sign = 1.0 if pixels[np.argmax(np.abs(pixels))] >= 0.0 else -1.0
    image: Float64[Doubles, "channels height width"] = sign * pixels.reshape(shape)
    return image
