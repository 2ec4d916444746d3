"""Reports of `zoo` -> rows of `catalog`: the one place where their words meet.

Knows the column names of both; opens no file and decides nothing.
"""

from __future__ import annotations

from zoo.card import Card
from zoo.columns import cells
from zoo.measure.model import LayerReport, Model
from zoo.measure.row import SpectrumRow


def layer_row(report: LayerReport, *, step: int | None) -> dict[str, object]:
    """A row of `layers`, without the common keys."""
    return cells(report.row) | {"step": step}


def trap_rows(report: LayerReport) -> list[dict[str, object]]:
    """Rows of `traps`, without the common keys."""
    return [cells(report.row.name) | cells(trap) for trap in report.traps]


def spectrum_row(report: LayerReport) -> dict[str, object] | None:
    """The row of `spectra`, without the common keys; None for a layer that was not measured."""
    if report.spectrum is None:
        return None
    return cells(SpectrumRow.of(report.row.name, report.spectrum, report.rand_spectrum))


def tensor_rows(model: Model) -> list[dict[str, object]]:
    """The account: one row of `tensors` for every stored tensor."""
    return [
        {
            "tensor": entry.tensor,
            "dtype": model.tensors[entry.tensor].dtype,
            "shape": list(model.tensors[entry.tensor].shape),
            "nbytes": model.tensors[entry.tensor].nbytes,
            "fate": entry.fate,
            "reason": entry.reason,
        }
        for entry in model.entries
    ]


def evaluation_rows(card: Card) -> list[dict[str, object]]:
    """Rows of `evaluations`, without the common keys."""
    return [
        {"task": e.task, "dataset": e.dataset, "metric": e.metric, "value": e.value}
        for e in card.evaluations
    ]


def model_columns(model: Model, card: Card) -> dict[str, object]:
    """Columns of `models` that the checkpoint and its card tell."""
    config = model.config
    architectures = config.get("architectures")
    kind = config.get("model_type")
    return {
        "architecture": _text(architectures[0])
        if isinstance(architectures, list) and architectures
        else None,
        "family": _text(kind),
        "library": card.library,
        "pipeline_tag": card.pipeline_tag,
        "licence": card.license,
        "base_model": card.base_model,
        "num_params": sum(meta.numel for meta in model.tensors.values()),
    }


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
