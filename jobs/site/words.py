"""What the columns of the site's tables mean, for the boxes that open over their heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from catalog.schema import TABLES

_BOARDS = {
    "rank": "Place among all ranked models; – below the line, with the reason.",
    "family_rank": "Place among the ranked models of the same family.",
    "model_id": "Hub repository, or local/NAME for a folder.",
    "num_params": "Parameters of the checkpoint, all of them.",
    "moved": "Places up (▲) or down (▼) against the board before the last sweep; new: not on it then.",
    "rank_before": "Rank on the board before the last sweep.",
    "num_params_tested": "Parameters of the layers with a trap test.",
    "num_layers_dequantised": "Layers whose values were decoded from fewer bits: another random ensemble.",
    "traps_per_million": "Traps a million parameters of the tested layers.",
    "mean_active_traps": "Active traps a layer, mean over the probed layers.",
    "num_layers_probed": "Layers whose traps were probed, or that have none.",
    "composite": "Mean of the three shares beside it; 0 is best. A rank of ranks, of no unit.",
    "traps_share": "Share of the ranked models with fewer traps a layer.",
    "alpha_share": "Share of the ranked models with alpha nearer to 2.",
    "alignment_share": "Share of the ranked models that are better aligned.",
    "low": "Lower end of the 95 % interval of the score, by a bootstrap over layers.",
    "high": "Upper end of that interval. Ranks whose intervals overlap cannot be told apart.",
    "mean_traps": "Correlation Traps a layer, mean over the layers tested. Fewer is better.",
    "total_traps": "Traps of all layers.",
    "num_layers_tested": "Layers with a trap test: what mean_traps is a mean of.",
    "num_layers_trapped": "Layers with at least one trap.",
    "num_layers_p01": "Layers with a trap p-value of 0.01 or less; chance alone gives one in a hundred.",
    "max_trap_excess": "Largest trap: its distance beyond the noise edge, as a share of the edge.",
    "min_trap_p_value": "Smallest trap p-value of all layers.",
    "total_traps_tw": "Traps by the papers' definition, without the correction for heavy-tailed entries.",
    "total_traps_ww": "Traps by WeightWatcher's recipe.",
    "total_traps_mean": "Traps that a mean of the entries makes which is not zero; perhaps innocuous.",
    "total_traps_entries": "Traps that a few large entries make.",
    "total_active_traps": "Traps that change the outputs more than ordinary modes do (zoo probe).",
    "mean_abs_alpha_minus_2": "Mean distance of alpha from 2, the ideal of HTSR. Smaller is better.",
    "mean_alpha": "Mean exponent of the power-law tail over fitted layers.",
    "weighted_alpha": "Mean alpha, each layer by its precision.",
    "median_alpha": "Median alpha of the fitted layers.",
    "std_alpha": "Standard deviation of alpha over the fitted layers.",
    "share_alpha_2_6": "Share of fitted layers with alpha between 2 and 6, the range of trained layers.",
    "num_layers_fitted": "Layers with a power-law fit.",
    "num_over_trained": "Fitted layers with alpha below 2.",
    "num_under_trained": "Fitted layers with alpha above 6.",
    "mean_alpha_hat": "Mean of alpha·log10(lambda_max).",
    "mean_log_alpha_norm": "Mean of log10 Σ lambda^alpha.",
    "mean_ks_distance": "Mean Kolmogorov-Smirnov distance of the fits: how well a power law describes the tail.",
    "mean_log_spectral_norm": "Mean of log10 of the largest eigenvalue.",
    "mean_abs_erg_log_ratio": "Mean |ln(xmin/erg_lambda_min)|: how far tails start from the ERG condition; 0 is best.",
    "num_layers_aligned": "Layers behind the alignment score.",
    "mean_erg_delta": "Mean of xmin minus the ERG start, in units of the layer's mean eigenvalue.",
    "spearman_alpha_erg_delta": "Rank correlation of alpha and erg_delta over layers; SETOL expects it to be positive.",
    "num_layers_ranked": "Layers behind that correlation.",
    "share_alpha_and_delta_low": "Share of layers with alpha below 2 and erg_delta below 0.",
    "layers_failed": "Layers that failed; the model's page has the reasons.",
    "num_revisions": "Revisions of the model in the catalog; the newest one is ranked.",
    "analysis": "First digits of the key of the analysis; only equal ones are compared.",
    "verdict": "What traps, alpha and alignment say together; never that a model is good.",
    "reason": "Why a model has no rank.",
    "num_models": "Models of the family in the catalog.",
    "phase": "Phase of training by the accuracies of the model card.",
    "presence": "Which of the two models has the layer.",
    "depth": "Place of the layer in the model: 0 the first, 1 the last.",
}


@cache
def meanings() -> dict[str, str]:
    """By column; a column of a board is more than the column of a table with its name."""
    named = {c.name: c.meaning for table in TABLES.values() for c in table.columns}
    return named | _BOARDS


def meanings_of(names: Sequence[str]) -> dict[str, str]:
    """Of these columns, those that are known."""
    known = {name: meanings()[name] for name in names if name in meanings()}
    scores = {name for name in names if name.endswith("_stderr") and name not in known}
    return known | {
        name: f"Standard error of {name.removesuffix('_stderr')} over the layers."
        for name in scores
    }
