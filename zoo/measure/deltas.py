"""W − W_base of the layers of one loaded piece: the base's tensor is read, subtracted, and dropped.

The difference of two stored numbers is taken in float32, or float64 where either is: rounded once, so exact
to the last digit of the difference itself. The matrix of the model is overwritten by it where that saves
a copy. Knows nothing of files or models.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from zoo.errors import DecodeError
from zoo.formats.weight import Weight
from zoo.layers.deltas import EQUAL
from zoo.layers.spec import LayerSpec
from zoo.measure.layer import LayerMeasures, failed_layer, measure_layer, skipped_layer
from zoo.measure.row import Shape
from zoo.options import AnalysisOptions
from zoo.spectral.difference import Difference, difference, grid_of

if TYPE_CHECKING:
    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

UNLIKE = 0.7
"""Relative difference from which a partner that was told by its place is taken for a wrong one: its rows
may be in another order. Of two unrelated matrices it is 1.4, of a fine-tune a few hundredths."""
FAR = 1.0
"""Relative difference from which a row says that this is hardly a fine-tune of that base."""


@dataclass(frozen=True, slots=True)
class DeltaMeasures:
    """One measured layer of W − W_base."""

    spec: LayerSpec
    measures: LayerMeasures
    read_s: float
    """Seconds waiting for its share of the base."""
    nbytes: int
    """Bytes of its share of the base."""


@dataclass(frozen=True, slots=True)
class BasePiece:
    """What is read of the base at a time, for some layers of one piece of the model."""

    weight: Weight
    rows: RowRange | None
    """Those that are loaded; None: all."""
    deltas: tuple[LayerSpec, ...]
    is_aligned: bool
    """All of what is loaded has the layout of the model's piece: it is subtracted in one go."""

    @property
    def nbytes(self) -> int:
        """Bytes that are read."""
        if self.rows is None or not self.weight.shape[0]:
            return self.weight.nbytes
        first, last = self.rows
        return self.weight.nbytes * (last - first) // self.weight.shape[0]


def base_pieces(
    weight: Weight, rows: RowRange | None, deltas: Sequence[LayerSpec]
) -> tuple[BasePiece, ...]:
    """What has to be read of the base for `deltas`, of the piece `rows` of `weight`."""
    if not deltas:
        return ()
    first = deltas[0].partner
    assert first is not None and first.weight is not None
    is_aligned = first.weight.shape == weight.shape and all(
        d.partner is not None
        and d.partner.weight is not None
        and d.partner.weight.name == first.weight.name
        and d.partner.cut == d.cut
        for d in deltas
    )
    if is_aligned:
        read = rows if _has_rows(first, rows) else None
        return (BasePiece(first.weight, read, tuple(deltas), is_aligned=True),)
    pieces: list[BasePiece] = []
    for delta in deltas:
        partner = delta.partner
        assert partner is not None and partner.weight is not None
        read = partner.leading if _has_rows(partner, partner.leading) else None
        pieces.append(BasePiece(partner.weight, read, (delta,), is_aligned=False))
    return tuple(pieces)


def _has_rows(partner: LayerSpec, rows: RowRange | None) -> bool:
    """True when the base's weight can be read by these rows: of codes, only expert by expert."""
    assert partner.weight is not None
    return rows is not None and (partner.weight.decoder == "none" or partner.cut.expert is not None)


def measure_deltas(
    held: list[torch.Tensor],
    rows: RowRange | None,
    pieces: Sequence[BasePiece],
    base: Checkpoint,
    options: AnalysisOptions,
) -> Iterator[DeltaMeasures]:
    """The layers of W − W_base. `held` holds the model's piece, `rows` of it, and is emptied: what is
    not needed any more is to leave the memory before the next matrix enters it."""
    for piece in pieces:
        started = time.perf_counter()
        try:
            reference = piece.weight.load(base, piece.rows)
        except DecodeError as error:
            for delta in piece.deltas:
                failed = failed_layer(_shape(delta), f"base model: undecodable: {error}")
                yield DeltaMeasures(delta, failed, 0.0, 0)
            continue
        count = len(piece.deltas)
        read_s, nbytes = (time.perf_counter() - started) / count, piece.nbytes // count
        of_base = [reference]
        del reference
        for delta, measures in _measured(held, rows, piece, of_base, options):
            yield DeltaMeasures(delta, measures, read_s, nbytes)
    held.clear()


def _measured(
    held: list[torch.Tensor],
    rows: RowRange | None,
    piece: BasePiece,
    of_base: list[torch.Tensor],
    options: AnalysisOptions,
) -> Iterator[tuple[LayerSpec, LayerMeasures]]:
    """The layers of one piece of the base, which `of_base` holds and loses."""
    offset = rows[0] if rows else 0
    if not piece.is_aligned:
        (delta,) = piece.deltas
        partner = delta.partner
        assert partner is not None
        own = delta.matrices(held[0], offset=offset)
        reference = partner.matrices(of_base.pop(), offset=piece.rows[0] if piece.rows else 0)
        facts = _facts(delta, own, reference)
        apart = _wide(own, reference).sub(reference)
        del own, reference
        yield delta, _measure(delta, [apart], facts, options)
        return
    whole, reference = held.pop(), of_base.pop()
    if rows is not None and piece.rows is None:
        reference = reference[rows[0] : rows[1]]
    all_facts = [
        _facts(d, d.matrices(whole, offset=offset), d.matrices(reference, offset=offset))
        for d in piece.deltas
    ]
    wide = _wide(whole, reference)
    wide = (
        wide.sub_(reference) if wide is not whole or whole.is_contiguous() else wide.sub(reference)
    )
    del whole, reference
    cut = [[d.matrices(wide, offset=offset)] for d in piece.deltas]
    del wide
    for delta, matrices, facts in zip(piece.deltas, cut, all_facts, strict=True):
        yield delta, _measure(delta, matrices, facts, options)


def _wide(own: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`own` in the type in which the difference is taken; itself where it has that type."""
    is_double = torch.float64 in (own.dtype, reference.dtype)
    return own.to(torch.float64 if is_double else torch.float32)


def _facts(delta: LayerSpec, own: torch.Tensor, reference: torch.Tensor) -> Difference:
    """What the entries tell of the difference. Codes of a quantised format lie on a grid nobody knows here."""
    partner = delta.partner
    assert delta.weight is not None and partner is not None and partner.weight is not None
    is_plain = not (delta.weight.is_dequantised or partner.weight.is_dequantised)
    return difference(own, reference, grid=grid_of(own) if is_plain else None)


def _measure(
    delta: LayerSpec, held: list[torch.Tensor], facts: Difference, options: AnalysisOptions
) -> LayerMeasures:
    """The layer of a difference, which `held` holds and loses, or why it has no numbers."""
    matrices = held.pop()
    if facts.is_zero:
        return skipped_layer(_shape(delta), EQUAL)
    apart = facts.delta_relative
    if delta.is_guess and apart is not None and apart > UNLIKE:
        assert delta.partner is not None
        why = (
            f"unlike: {apart:.2g} of the norm of {delta.partner.tensor!r}, which has its place in the base "
            "but another name: its rows may be in another order"
        )
        return failed_layer(_shape(delta), why)
    assert delta.weight is not None and delta.partner is not None
    assert delta.rows is not None and delta.cols is not None
    other = delta.partner.weight
    bits = min(delta.weight.storage_bits, other.storage_bits if other is not None else 32)
    measures = measure_layer(
        matrices,
        options=options,
        seed_key=delta.seed_key,
        storage_bits=bits,
        difference=facts,
    )
    outcome = measures.measured.outcome
    if apart is None or apart <= FAR:
        return measures
    why = f"far: the difference has {apart:.2g} of the norm of the base: another base, or trained anew"
    why = "; ".join(filter(None, (outcome.reason, why)))
    return replace(
        measures, measured=replace(measures.measured, outcome=replace(outcome, reason=why))
    )


def _shape(delta: LayerSpec) -> Shape | None:
    if delta.rows is None or delta.cols is None:
        return None
    return Shape.of(delta.num_slices, delta.rows, delta.cols)
