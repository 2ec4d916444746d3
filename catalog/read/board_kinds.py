"""Which leaderboards there are: what each ranks by, and how to read it. SQL: sql/50_leaderboards.sql."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BoardName = Literal[
    "traps",
    "traps-per-million",
    "active-traps",
    "alignment",
    "alpha",
    "alpha-hat",
    "log-alpha-norm",
    "composite",
]
"""Boards as they are called."""
_MODEL = (
    "rank", "model_id", "family", "step", "num_params", "num_params_active", "num_params_embedding",
)  # fmt: skip
_ORIGIN = (
    "layers_failed",
    "num_revisions",
    "num_layers_dequantised",
    "architecture",
    "author",
    "base_model",
    "analysis",
    "revision",
)


@dataclass(frozen=True, slots=True)
class Board:
    """What a leaderboard ranks by, and how to read it."""

    name: BoardName
    score: str
    """The column it ranks by: a mean over layers."""
    layer_value: str
    """What it is the mean of: an expression over `internal.scored_layers_of`, in which `unit` is the window
    of a model's layers. Empty for a score that is no mean over layers."""
    num_layers: str
    """The column with the number of layers behind it."""
    title: str
    direction: str
    """What rank 1 means."""
    figures: tuple[str, ...]
    """Columns of the view between those of the model and those of its origin: score, error, evidence."""

    @property
    def key(self) -> str:
        """Its name in SQL."""
        return self.name.replace("-", "_")

    @property
    def view_columns(self) -> tuple[str, ...]:
        """The columns of the view `leaderboard_<key>`; kept here so that no view has to be bound."""
        return (*_MODEL, *self.figures, *_ORIGIN)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            "traps", "mean_traps", "num_traps", "num_layers_tested",
            "Correlation Traps a layer",
            "rank 1 has the most, which is bad: traps are a sign of over-fitting",
            (
                "mean_traps", "mean_traps_stderr", "total_traps",
                "num_layers_tested", "num_layers_trapped", "num_layers_p01",
                "max_trap_excess", "min_trap_p_value", "total_traps_tw",
                "total_traps_mean", "total_traps_entries", "total_traps_ww", "total_active_traps",
                "traps_per_million",
            ),
        ),
        Board(
            "traps-per-million", "traps_per_million",
            # the linear part of a ratio of sums: its mean is the ratio, its spread that of the ratio
            "1e6 * (num_traps + (avg(num_params) filter (where num_traps is not null) over unit - num_params)"
            " * avg(num_traps) over unit / avg(num_params) filter (where num_traps is not null) over unit)"
            " / avg(num_params) filter (where num_traps is not null) over unit",
            "num_layers_tested",
            "Correlation Traps a million parameters of the tested layers",
            "rank 1 has the most, which is bad: traps are a sign of over-fitting",
            (
                "traps_per_million", "total_traps", "num_params_tested", "num_layers_tested",
                "mean_traps", "max_trap_excess",
            ),
        ),
        Board(
            "active-traps", "mean_active_traps", "active_traps", "num_layers_probed",
            "Active Correlation Traps a layer: those that change the outputs more than ordinary modes do",
            "rank 1 has the most, which is bad; models with traps need `zoo probe` first",
            (
                "mean_active_traps", "mean_active_traps_stderr", "total_active_traps",
                "num_layers_probed", "total_traps", "mean_traps", "num_layers_trapped",
                "max_trap_excess",
            ),
        ),
        Board(
            "alignment", "mean_abs_erg_log_ratio", "erg_distance", "num_layers_aligned",
            "Alignment of the power-law tail with the ERG condition, mean |ln(xmin / erg_lambda_min)|",
            "rank 1 is nearest to 0, which is good: there alpha means what SETOL says it means",
            (
                "mean_abs_erg_log_ratio", "mean_abs_erg_log_ratio_stderr",
                "num_layers_aligned", "mean_abs_alpha_minus_2", "num_layers_fitted",
                "spearman_alpha_erg_delta", "num_layers_ranked",
                "share_alpha_and_delta_low", "mean_erg_delta",
            ),
        ),
        Board(
            "alpha", "mean_abs_alpha_minus_2", "alpha_distance", "num_layers_fitted",
            "Distance of alpha from 2, mean |alpha - 2|",
            "rank 1 is nearest to 2, which is good: the ideal of HTSR",
            (
                "mean_abs_alpha_minus_2", "mean_abs_alpha_minus_2_stderr",
                "mean_alpha", "weighted_alpha", "median_alpha", "std_alpha",
                "share_alpha_2_6", "num_layers_fitted", "num_over_trained",
                "num_under_trained", "mean_alpha_hat", "mean_ks_distance",
            ),
        ),
        Board(
            "alpha-hat", "mean_alpha_hat", "alpha_hat", "num_layers_fitted",
            "Mean alpha_hat = alpha·log10(lambda_max)",
            "rank 1 is the smallest, which is good among models of one family; from family to family it "
            "follows the scale of the weights",
            (
                "mean_alpha_hat", "mean_alpha_hat_stderr", "mean_alpha",
                "mean_log_spectral_norm", "num_layers_fitted",
            ),
        ),
        Board(
            "log-alpha-norm", "mean_log_alpha_norm", "log_alpha_norm", "num_layers_fitted",
            "Mean log_alpha_norm = log10 Σ lambda^alpha",
            "rank 1 is the smallest, which is good among models of one family; from family to family it "
            "follows the scale of the weights",
            (
                "mean_log_alpha_norm", "mean_log_alpha_norm_stderr", "mean_alpha",
                "mean_log_spectral_norm", "num_layers_fitted",
            ),
        ),
        Board(
            "composite", "composite", "", "num_layers_aligned",
            "Composite: mean of the percentile ranks by traps (fewest first), by |alpha - 2| and by "
            "|ln(xmin / erg_lambda_min)|, among the models ranked here",
            "rank 1 is nearest to 0, the first place on all three; 1 would be the last on all three",
            (
                "composite", "traps_share", "alpha_share", "alignment_share",
                "mean_traps", "mean_abs_alpha_minus_2", "mean_abs_erg_log_ratio",
                "num_layers_tested", "num_layers_fitted", "num_layers_aligned",
            ),
        ),
    )
}  # fmt: skip
"""Boards by name."""

COMPOSED = ("traps", "alpha", "alignment")
"""The boards that `composite` is made of; on each of them it takes the smaller score for the better."""


def find_board(name: str) -> Board | None:
    """The board called `name`, with - or _."""
    return BOARDS.get(name.replace("_", "-"))
