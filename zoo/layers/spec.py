"""What a layer is: one matrix (or the slices of one kernel) cut out of one weight.

Knows nothing of names, families or configurations; those decide the cuts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from zoo.seeds import layer_key

if TYPE_CHECKING:
    import torch

    from zoo.formats.weight import Entry, Weight
    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

Kernel = Literal["none", "trailing", "leading", "middle"]
"""Where a convolution kernel has its spatial axes: trailing `[out, in, k...]` (torch), leading
`[k..., in, out]` (Flax) or in the middle `[out, k..., in]` (MLX)."""
Fold = Literal["none", "rows", "cols", "swapped"]
"""Which axes of a matrix kept as three make one: the first two (`rows`), the last two (`cols`), or,
`swapped`, the first and the last: `[heads, cols, width]` is the matrix `[heads·width, cols]`."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a weight a layer is. The default is all of it."""

    expert: int | None = None
    """Index along axis 0 of a stack of experts `[E, rows, cols]`; that axis is dropped."""
    band: RowRange | None = None
    """Rows of a 2-D weight taken first: one expert of a stack stored as `[E·rows, cols]`."""
    axis: int = 0
    """Axis of the remaining matrix that is cut into parts (0 rows, 1 columns)."""
    groups: int = 1
    """Equal groups (heads) along `axis`; the slice below is taken in each and the pieces joined."""
    start: int = 0
    """First row (or column) of the part, in each group."""
    stop: int | None = None
    """One past its last; None for the end of the group."""
    step: int = 1
    """2 where two parts alternate."""
    kernel: Kernel = "none"
    """Where the spatial axes are, of a convolution."""
    fold: Fold = "none"
    """Which axes make one, of a matrix that is stored by heads."""

    @property
    def is_whole(self) -> bool:
        """True when no rows or columns are left out."""
        return self.start == 0 and self.stop is None and self.step == 1 and self.groups == 1

    def leading(self, shape: tuple[int, ...]) -> RowRange | None:
        """Range of axis 0 of the weight that holds this layer, or None when it spans all of it."""
        if self.expert is not None:
            rows = (self.expert, self.expert + 1)
        elif self.band is not None:
            rows = self.band
        elif self.is_whole or self.axis != 0 or self.groups != 1 or len(shape) != 2:
            return None
        else:
            rows = (self.start, shape[0] if self.stop is None else self.stop)
        return None if rows == (0, shape[0]) else rows

    def apply(self, weight: torch.Tensor, *, offset: int = 0) -> torch.Tensor:
        """The layer as `[k, rows, cols]`: a view, except for parts interleaved by heads.

        `weight` is the whole weight, or its rows along axis 0 from `offset` on (see `leading`).
        """
        if self.kernel == "trailing":
            return weight.flatten(2).permute(2, 0, 1)
        if self.kernel == "leading":
            return weight.flatten(0, -3)
        if self.kernel == "middle":
            return weight.flatten(1, -2).permute(1, 0, 2)
        start, stop = self.start, self.stop
        if self.expert is not None:
            matrix = _as_matrix(weight.select(0, self.expert - offset), self.fold)
        elif self.band is not None:
            matrix = weight[self.band[0] - offset : self.band[1] - offset]
        else:
            matrix = _as_matrix(weight, self.fold)
            if offset:
                start, stop = start - offset, None if stop is None else stop - offset
        if not self.is_whole:
            matrix = _part(matrix, self.axis, self.groups, start, stop, self.step)
        return matrix.unsqueeze(0)


def _as_matrix(weight: torch.Tensor, fold: Fold) -> torch.Tensor:
    """The weight as a matrix: axes of length 1 left out, then the axes of `fold` joined.

    Without a fold a grid of vectors becomes one row each.
    """
    if weight.ndim == 2:
        return weight
    sizes = [size for size in weight.shape if size != 1] if fold == "none" else [*weight.shape]
    if fold == "cols":
        return weight.flatten(1)
    if fold == "swapped":
        return weight.transpose(1, 2).flatten(0, 1)
    return weight.reshape(-1, sizes[-1] if sizes else 1)


def _part(
    matrix: torch.Tensor, axis: int, groups: int, start: int, stop: int | None, step: int
) -> torch.Tensor:
    if groups == 1:
        index = slice(start, stop, step)
        return matrix[index] if axis == 0 else matrix[:, index]
    rows, cols = matrix.shape
    if axis == 0:
        return matrix.reshape(groups, -1, cols)[:, start:stop:step].flatten(0, 1)
    return matrix.reshape(rows, groups, -1)[:, :, start:stop:step].flatten(1, 2)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One row of `layers` before anything is measured."""

    layer_index: int
    """Place of the row in its model, consecutive from 0."""
    tensor: str
    """Logical name of the weight (or the stored name when no weight could be made of it)."""
    part: str | None
    """`q`, `gate`, ... when the tensor holds several matrices; None when it is one layer."""
    block: int | None
    """Number of the transformer block, residual block or recurrent layer."""
    role: str
    """One of `zoo.layers.roles.ROLES`."""
    expert: int | None
    """Number of the expert in its block."""
    num_slices: int
    """`receptive_field`: kernel slices pooled into one spectrum; 1 for a dense matrix."""
    rows: int | None
    """Rows of one slice, as stored; None when the shape is not known."""
    cols: int | None
    """Columns of one slice, as stored; None when the shape is not known."""
    weight: Weight | None
    """What to load; None only when `fail_reason` is set."""
    cut: Cut = field(default_factory=Cut)
    """How the layer is cut out of the loaded weight."""
    tied_to: str | None = None
    """Name of an equal tensor that is analysed in its place."""
    skip_reason: str | None = None
    """Why the row is `skipped`: `tied`, `empty`, `too_small: ...`."""
    fail_reason: str | None = None
    """Why the row is `failed` before any byte is read."""
    note: str | None = None
    """A remark on a row that is analysed all the same: why a fused tensor was kept whole."""
    delta_base: str | None = None
    """Model id of the base: the row is of W − W_base. None: of the weights themselves."""
    partner: LayerSpec | None = None
    """Where W_base is: a layer of the base model. None where there is none to compare with."""
    is_guess: bool = False
    """The partner was told by its place in the model, and has another name."""

    @property
    def is_measurable(self) -> bool:
        """True when the layer is to be loaded and measured."""
        return self.skip_reason is None and self.fail_reason is None

    @property
    def leading(self) -> RowRange | None:
        """Range of axis 0 of the weight that this layer needs, or None for all of it."""
        return None if self.weight is None else self.cut.leading(self.weight.shape)

    @property
    def seed_key(self) -> tuple[str, ...]:
        """What seeds the shuffles of the layer: the same wherever and whenever it is measured."""
        assert self.rows is not None and self.cols is not None
        return layer_key(self.tensor, self.part, self.expert, self.rows, self.cols)

    def load(self, checkpoint: Checkpoint) -> torch.Tensor:
        """`[num_slices, rows, cols]`, read without the rest of its weight where that can be.

        Of a measurable layer. Raises what `Weight.load` does.
        """
        assert self.weight is not None
        rows = self.leading
        loaded = self.weight.load(checkpoint, rows)
        return self.matrices(loaded, offset=rows[0] if rows else 0)

    def matrices(self, loaded: torch.Tensor, *, offset: int = 0) -> torch.Tensor:
        """`[num_slices, rows, cols]` of the loaded weight, or of its rows from `offset` on."""
        return self.cut.apply(loaded, offset=offset)


@dataclass(frozen=True, slots=True)
class Taken:
    """All layers of a checkpoint and the final fate of every stored tensor."""

    specs: tuple[LayerSpec, ...]
    """In file order."""
    entries: tuple[Entry, ...]
    """One per stored tensor, in file order."""
