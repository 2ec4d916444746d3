"""Parts of a fused matrix: which rows or columns of a stored tensor one projection owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.layers.spec import Cut

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor of a model by module path."""


@dataclass(frozen=True, slots=True)
class Part:
    """One matrix in a fused tensor."""

    name: str
    """`q`, `k`, `v`, `gate`, `up`, `i`, ..."""
    cut: Cut
    """Which rows or columns of the tensor it is."""
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor that stays one layer."""

    note: str | None
    """Why a fused tensor could not be split; None when it is not fused."""
    role: str | None = None
    """The role of the tensor where the sizes show that its name promises more parts than there are;
    None: as the name says."""


Split = tuple[Part, ...] | Whole
"""The parts of a tensor, or the reason why it is kept whole."""


def pieces(
    shape: tuple[int, int], axis: int, sizes: Mapping[str, int], *, groups: int = 1
) -> tuple[Part, ...]:
    """Consecutive parts of the given sizes, in each of `groups` equal groups along `axis`."""
    parts, start = [], 0
    for name, size in sizes.items():
        length = size * groups
        rows, cols = (length, shape[1]) if axis == 0 else (shape[0], length)
        cut = Cut(axis=axis, groups=groups, start=start, stop=start + size)
        parts.append(Part(name, cut, rows, cols))
        start += size
    return tuple(parts)


def alternating(shape: tuple[int, int], axis: int, names: Sequence[str]) -> tuple[Part, ...]:
    """Parts whose rows (or columns) take turns: of two, the even ones and the odd ones."""
    length = shape[axis] // len(names)
    rows, cols = (length, shape[1]) if axis == 0 else (shape[0], length)
    return tuple(
        Part(name, Cut(axis=axis, start=first, stop=shape[axis], step=len(names)), rows, cols)
        for first, name in enumerate(names)
    )


def misfit(shape: tuple[int, int], what: str, total: int | None) -> Whole:
    """The reason that the sizes of `what`, which add up to `total`, do not fit the matrix."""
    expected = "" if total is None else f", wanted {total}"
    return Whole(f"fused_whole: {list(shape)} does not fit {what}{expected}")


def unknown_order(leaf: str, family: str) -> Whole:
    """The reason that nobody knows how the parts of `leaf` lie in a model of this family."""
    return Whole(f"fused_whole: layout of {leaf} in {family or 'an unnamed model'}")


def matrix_of(shape: tuple[int, ...] | None) -> tuple[int, int] | None:
    """Rows and columns of a tensor that is a matrix once its axes of length 1 are left out."""
    sizes = [] if shape is None else [size for size in shape if size != 1]
    return (sizes[0], sizes[1]) if len(sizes) == 2 else None
