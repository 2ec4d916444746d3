"""What the layers of one model say together, in the numbers of the leaderboards.

Takes layers as mappings and counts as `catalog/sql/40_scores.sql` does; a test holds both against each
other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median

Cells = Mapping[str, object]
"""One row of `layers`: its values by column."""


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """One model in a few numbers; every mean stands beside the number of layers behind it.

    Printed as a few lines; `to_dict()` is a row. A number that there is not is None.
    """

    model_id: str
    revision: str
    num_layers_scored: int
    """Layers that were measured, tied ones counted once, and a fused matrix not beside its parts."""
    num_layers_failed: int
    num_layers_tested: int
    """Layers whose shuffle was tested for traps."""
    total_traps: float | None
    num_layers_trapped: int
    max_trap_excess: float | None
    """How far beyond the edge the largest trap lies, relative to it."""
    num_layers_fitted: int
    """Layers with a power-law tail."""
    mean_alpha: float | None
    median_alpha: float | None
    mean_abs_alpha_minus_2: float | None
    share_alpha_2_6: float | None
    """Share of fitted layers with alpha from 2 to 6, in [0, 1]."""
    num_over_trained: int
    """Layers with alpha below 2."""
    num_under_trained: int
    """Layers with alpha above 6."""
    num_layers_aligned: int
    mean_abs_erg_log_ratio: float | None
    """Mean |ln(xmin / erg_lambda_min)|; 0: tail and trace-log condition begin at one eigenvalue."""
    reasons: tuple[tuple[str, int], ...]
    """Why layers have failed, and how many for that reason; most frequent first."""

    def to_dict(self) -> dict[str, object]:
        """The numbers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__  # so that a prompt and a notebook show the lines

    def _lines(self) -> list[str]:
        lines = [
            f"{self.model_id}@{self.revision[:12]}",
            f"layers     {self.num_layers_scored} measured, {self.num_layers_failed} failed",
        ]
        lines += [f"           {count} failed: {reason}" for reason, count in self.reasons[:3]]
        lines.append(
            f"traps      {_shown(self.total_traps)} in {self.num_layers_trapped} of "
            f"{self.num_layers_tested} layers tested"
            + ("" if self.max_trap_excess is None else f", up to {self.max_trap_excess:.3g} beyond")
        )
        if self.share_alpha_2_6 is None:
            lines.append("alpha      no layer has a power-law tail")
        else:
            lines.append(
                f"alpha      mean {_shown(self.mean_alpha)}, median {_shown(self.median_alpha)} over "
                f"{self.num_layers_fitted} fitted layers; {self.share_alpha_2_6:.0%} from 2 to 6, "
                f"{self.num_over_trained} below, {self.num_under_trained} above"
            )
        if self.num_layers_aligned:
            lines.append(
                f"alignment  mean |ln(xmin / erg_lambda_min)| {_shown(self.mean_abs_erg_log_ratio)} over "
                f"{self.num_layers_aligned} layers (0 is perfect)"
            )
        return lines


def summary_of(model_id: str, revision: str, layers: Sequence[Cells]) -> Summary:
    """The summary of a model's layers; `layers` holds all of them, whatever their status."""
    scored = list(_scored(layers))
    failed = [row for row in layers if row["status"] == "failed"]
    traps = _numbers(scored, "num_traps")
    fitted = [row for row in scored if row["alpha"] is not None]
    alpha = _numbers(fitted, "alpha")
    aligned = [abs(value) for value in _numbers(fitted, "erg_log_ratio")]
    return Summary(
        model_id=model_id,
        revision=revision,
        num_layers_scored=len(scored),
        num_layers_failed=len(failed),
        num_layers_tested=len(traps),
        total_traps=_of(math.fsum, traps),
        num_layers_trapped=sum(count > 0 for count in traps),
        max_trap_excess=_of(max, _numbers(scored, "trap_excess_max")),
        num_layers_fitted=len(alpha),
        mean_alpha=_of(fmean, alpha),
        median_alpha=_of(median, alpha),
        mean_abs_alpha_minus_2=_of(fmean, [abs(value - 2.0) for value in alpha]),
        share_alpha_2_6=_of(fmean, [float(2.0 <= value <= 6.0) for value in alpha]),
        num_over_trained=sum(value < 2.0 for value in alpha),
        num_under_trained=sum(value > 6.0 for value in alpha),
        num_layers_aligned=len(aligned),
        mean_abs_erg_log_ratio=_of(fmean, aligned),
        reasons=tuple(Counter(str(row["reason"]) for row in failed).most_common()),
    )


def _scored(layers: Sequence[Cells]) -> list[Cells]:
    """Measured layers, each once: no tied tensor, and no fused matrix whose parts are there too."""
    measured = [row for row in layers if row["status"] == "ok" and row["tied_to"] is None]
    in_parts = {(row["tensor"], row["expert"]) for row in measured if row["part"] is not None}
    return [
        row
        for row in measured
        if row["part"] is not None or (row["tensor"], row["expert"]) not in in_parts
    ]


def _numbers(rows: Sequence[Cells], name: str) -> list[float]:
    """The values of a column where there are any."""
    return [float(value) for row in rows if isinstance(value := row[name], int | float)]


def _of(mean: Callable[[list[float]], float], values: list[float]) -> float | None:
    return mean(values) if values else None


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
