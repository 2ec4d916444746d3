"""A measured layer as a report: its row with name, place and reading, its traps, its spectra."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zoo.layers.spec import LayerSpec

if (
    TYPE_CHECKING
):  # what measures is loaded where it is called: headers are read without it, in no time
    from zoo.measure.layer import LayerMeasures
    from zoo.measure.row import LayerRow, Shape, TrapRow
    from zoo.spectral.spectrum import Spectrum


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Everything measured on one layer."""

    row: LayerRow
    traps: tuple[TrapRow, ...]
    spectrum: Spectrum | None
    """Eigenvalues, ascending; None when the layer was not measured."""
    rand_spectrum: Spectrum | None
    """Eigenvalues of the first shuffle; None unless the full shuffled spectrum was computed."""

    @property
    def columns(self) -> dict[str, object]:
        """All columns of the table `layers` but the common keys and `step`, as a mapping."""
        from zoo.cells import cells

        return cells(self.row)


def unmeasured(spec: LayerSpec) -> LayerReport:
    """The report of a layer that is failed or skipped before anything of it is read."""
    from zoo.measure.layer import failed_layer, skipped_layer

    if spec.fail_reason is not None:
        return report_of(spec, failed_layer(shape_of(spec), spec.fail_reason), 0.0, 0)
    return report_of(spec, skipped_layer(shape_of(spec), spec.skip_reason or "skipped"), 0.0, 0)


def shape_of(spec: LayerSpec) -> Shape | None:
    """The shape of the layer; None where the header does not tell it."""
    from zoo.measure.row import Shape

    if spec.rows is None or spec.cols is None:
        return None
    return Shape.of(spec.num_slices, spec.rows, spec.cols)


def report_of(spec: LayerSpec, measures: LayerMeasures, read_s: float, nbytes: int) -> LayerReport:
    """The report of a layer for which `nbytes` were read, which took `read_s` seconds."""
    from zoo.measure.row import Counterpart, LayerName, LayerRow, Place, Reading, Stored, TrapRow

    weight, measured = spec.weight, measures.measured
    if spec.note is not None:
        reason = "; ".join(filter(None, (measured.outcome.reason, spec.note)))
        measured = replace(measured, outcome=replace(measured.outcome, reason=reason))
    effort = measured.effort
    total_s = read_s + (effort.spectrum_s + (effort.shuffle_s or 0.0) if effort else 0.0)
    name = LayerName(spec.layer_index, spec.tensor, spec.part, spec.expert, spec.delta_base)
    other = spec.partner.weight if spec.partner else None
    is_dequantised = [w.is_dequantised for w in (weight, other) if w is not None]
    row = LayerRow(
        name=name,
        place=Place(spec.block, spec.role),
        stored=Stored(
            stored_dtype=weight.stored_dtype if weight else None,
            decoder=weight.decoder if weight else None,
            is_dequantised=any(is_dequantised) if weight else None,
            tied_to=spec.tied_to,
        ),
        measured=measured,
        reading=Reading(read_s, nbytes, total_s),
        counterpart=Counterpart(other.name, other.stored_dtype) if other else None,
    )
    traps = tuple(TrapRow(name, trap) for trap in measures.traps)
    return LayerReport(row, traps, measures.spectrum, measures.rand_spectrum)
