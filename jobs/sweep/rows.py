"""A measured model -> the rows of one task: the one place where the words of `zoo` and a sweep's meet.

Opens no file and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from jobs.sweep.task_rows import ModelFacts
from zoo.card import Card
from zoo.measure.model import Model
from zoo.measure.reports import LayerReport
from zoo.measure.row import SpectrumRow, TensorRow


def spectrum_rows(reports: Sequence[LayerReport]) -> Iterator[SpectrumRow]:
    """The eigenvalues of every layer that was measured."""
    for report in reports:
        if report.spectrum is not None:
            yield SpectrumRow.of(report.row.name, report.spectrum, report.rand_spectrum)


def tensor_rows(model: Model) -> Iterator[TensorRow]:
    """The account: one row for every stored tensor, and one for every file that could hold weights
    and is not read."""
    for entry, stored in model.accounts:
        yield TensorRow(
            tensor=entry.tensor,
            dtype=stored.dtype,
            shape=stored.shape,
            fate=entry.fate,
            reason=entry.reason,
            nbytes=stored.nbytes,
        )
    for left in model.left_out:
        yield TensorRow(
            tensor=left.file,
            dtype=None,
            shape=None,
            fate="left_out",
            reason=left.reason,
            nbytes=left.nbytes,
        )


def model_facts(model: Model, card: Card) -> ModelFacts:
    """What the checkpoint and its card tell."""
    counts = model.param_counts
    facts = ModelFacts.of(model.config, card, num_params=model.num_params)
    return replace(facts, num_params_active=counts.active, num_params_embedding=counts.embedding)
