"""How a weight is loaded: all of it, or one expert of a big stack at a time, and what of a base model beside it.

From headers alone; loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING

from zoo.formats.weight import Weight
from zoo.io.header import RowRange
from zoo.layers.spec import LayerSpec

if TYPE_CHECKING:
    from zoo.measure.deltas import BasePiece

_WHOLE_BYTES = 256 << 20
"""Bytes in float32 up to which a stack of experts is decoded whole; a larger one is decoded one
expert at a time."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """One weight, cut into what is loaded at a time: all of it, or one expert of a big stack."""

    weight: Weight
    layers: tuple[tuple[RowRange | None, tuple[LayerSpec, ...]], ...]
    """The rows of the weight that are loaded (None: all) and the layers measured from them."""
    deltas: tuple[LayerSpec, ...] = ()
    """Of the layers, those that are measured a second time with the base's weights subtracted."""

    @classmethod
    def of(cls, weight: Weight, specs: list[LayerSpec], deltas: Sequence[LayerSpec] = ()) -> Pieces:
        """A matrix that has to be decoded cannot be read by rows, a stack of experts can."""
        by_rows = 4 * prod(weight.shape) > _WHOLE_BYTES and all(
            s.leading is not None and (weight.decoder == "none" or s.cut.expert is not None)
            for s in specs
        )
        cut = groupby(specs, key=lambda s: s.leading if by_rows else None)
        return cls(weight, tuple((rows, tuple(sharing)) for rows, sharing in cut), tuple(deltas))

    def of_base(self, rows: RowRange | None, specs: Sequence[LayerSpec]) -> tuple[BasePiece, ...]:
        """What is read of the base model for the layers of one piece."""
        if not self.deltas:
            return ()
        places = {(spec.part, spec.expert) for spec in specs}
        here = [delta for delta in self.deltas if (delta.part, delta.expert) in places]
        from zoo.measure.deltas import base_pieces

        return base_pieces(self.weight, rows, here)

    @property
    def is_streamed(self) -> bool:
        """True when all bytes of its sources are read once and in order, so that they can be announced.

        An expert's values and scales lie apart: a stream would have to go back and forth, and bytes of
        experts that are left out would be fetched for nothing. These are read range by range instead.
        """
        ranges = [rows for rows, _ in self.layers]
        if ranges == [None]:
            return True
        ends = [0, *(rows[1] for rows in ranges if rows is not None)]
        starts = [*(rows[0] for rows in ranges if rows is not None), self.weight.shape[0]]
        return len(self.weight.sources) == 1 and starts == ends

    @property
    def nbytes(self) -> int:
        """Bytes that are read in all, of the base model too."""
        return sum(
            self.share(rows, self.weight.nbytes)
            + sum(piece.nbytes for piece in self.of_base(rows, specs))
            for rows, specs in self.layers
        )

    @property
    def numel(self) -> int:
        """Values in memory at a time: those of the largest piece."""
        return max(self.share(rows, prod(self.weight.shape)) for rows, _ in self.layers)

    def share(self, rows: RowRange | None, whole: int) -> int:
        """What the piece `rows` has of `whole`: of the weight's bytes, or of its values."""
        return whole if rows is None else whole * (rows[1] - rows[0]) // self.weight.shape[0]


def pieces_of(model_specs: Iterable[LayerSpec]) -> Iterator[Pieces]:
    """Every weight that at least one measurable layer of a model needs, in file order."""
    specs: dict[str, list[LayerSpec]] = {}
    deltas: dict[str, list[LayerSpec]] = {}
    for spec in model_specs:
        if spec.is_measurable and spec.weight is not None:
            kind = specs if spec.delta_base is None else deltas
            kind.setdefault(spec.weight.name, []).append(spec)
    for name, of_one_weight in specs.items():
        assert of_one_weight[0].weight is not None
        yield Pieces.of(of_one_weight[0].weight, of_one_weight, deltas.get(name, ()))
