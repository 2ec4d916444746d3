"""`layers`: one row per matrix, and `spectra`: its eigenvalues.

Formulas are those of the measuring package; here each is named, with its unit. λ are the
eigenvalues of WᵀW (squared singular values, no 1/N); n ≥ m are the sides of W. "Mean-1 units"
are λ·count/Σλ.
"""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, LAYER_KEYS
from catalog.schema.table import FLAG, INT, INT32, INTS32, REAL, REALS32, TEXT, Column, Table

_IDENTITY = (
    *LAYER_KEYS[:3],
    Column("block", INT, "index", "Transformer block (or stage) number; NULL outside blocks."),
    Column("role", TEXT, "text", "What the matrix does: `q`, `mlp_up`, `embedding`, `conv`, ..."),
    LAYER_KEYS[3],
    Column("step", INT, "steps", "Training step of the revision; NULL outside trajectories."),
)

_SHAPE = (
    Column("num_rows", INT, "count", "Rows of the matrix as stored (of one slice if pooled)."),
    Column("num_cols", INT, "count", "Columns of the matrix as stored (of one slice if pooled)."),
    Column("n", INT, "count", "Larger side."),
    Column("m", INT, "count", "Smaller side: eigenvalues of one slice."),
    Column("q", REAL, "1", "Aspect ratio n/m, at least 1; NULL for an empty matrix."),
    Column("receptive_field", INT, "count", "Slices pooled into the spectrum: kh·kw; 1 if dense."),
    Column("num_evals", INT, "count", "Eigenvalues: m·receptive_field."),
    Column("num_params", INT, "count", "Entries of the layer."),
    Column("stored_dtype", TEXT, "text", "Safetensors code of the stored tensor: `BF16`, ..."),
    Column("decoder", TEXT, "text", "`none`, or the decoder of a quantised format."),
    Column("is_dequantised", FLAG, "flag", "True when the values were decoded from fewer bits."),
    Column("tied_to", TEXT, "text", "Tensor this one shares its values with; NULL if untied."),
    Column("status", TEXT, "text", "`ok`, `failed` or `skipped`.", nullable=False),
    Column("reason", TEXT, "text", "Why the layer failed or was skipped; NULL if it was measured."),
)

_SCALARS = (
    Column("lambda_max", REAL, "λ", "Largest eigenvalue."),
    Column("lambda_min", REAL, "λ", "Smallest eigenvalue."),
    Column("frobenius_norm_sq", REAL, "λ", "Squared Frobenius norm, Σλ."),
    Column("log_norm", REAL, "log10 λ", "log10 Σλ; NULL for the zero matrix."),
    Column("log_spectral_norm", REAL, "log10 λ", "log10 λ_max; NULL for the zero matrix."),
    Column("stable_rank", REAL, "1", "Σλ/λ_max, in [1, num_evals]; NULL for the zero matrix."),
    Column("matrix_rank", INT, "count", "Eigenvalues above the numerical-rank tolerance."),
    Column("matrix_entropy", REAL, "1", "−Σ p ln p / ln rank with p = λ/Σλ; NULL below rank 2."),
    Column("weight_mean", REAL, "w", "Mean of the entries."),
    Column("weight_std", REAL, "w", "Standard deviation of the entries."),
    Column("weight_kurtosis", REAL, "1", "Excess kurtosis of the entries; NULL if constant."),
    Column("weight_max_abs", REAL, "w", "Largest absolute entry."),
    Column("l2_norm", REAL, "w", "Frobenius norm, √Σw²."),
    Column("abs_weight_entropy", REAL, "nat", "−Σ|w| ln|w|; may be negative."),
)

_TAIL = (
    Column("alpha", REAL, "1", "Exponent of the power-law tail, > 1; NULL without a fit."),
    Column("alpha_stderr", REAL, "1", "(alpha − 1)/√num_tail."),
    Column("ks_distance", REAL, "1", "Kolmogorov-Smirnov distance of the tail fit."),
    Column("xmin", REAL, "λ", "Smallest eigenvalue of the tail."),
    Column("xmax", REAL, "λ", "Largest eigenvalue of the tail."),
    Column("num_tail", INT, "count", "Eigenvalues in the tail."),
    Column("alpha_hat", REAL, "1", "alpha·log10 λ_max."),
    Column("alpha_hill", REAL, "1", "Hill estimate at half of the eigenvalues."),
    Column("log_alpha_norm", REAL, "log10 λ^alpha", "log10 Σ λ^alpha."),
    Column("tail_status", TEXT, "text", "`ok`, `too_few`, ...: how the fit ended."),
    Column("tail_warning", TEXT, "text", "`over_trained` (alpha < 2), `under_trained` (> 6)."),
    Column("mp_sigma", REAL, "1", "Marchenko-Pastur σ of the layer's own bulk, mean-1 units."),
    Column("mp_edge_lower", REAL, "λ", "Lower edge of the fitted law."),
    Column("mp_edge_upper", REAL, "λ", "Upper edge of the fitted law."),
    Column("mp_num_spikes", INT, "count", "Eigenvalues beyond the edge and its margin."),
    Column("mp_softrank", REAL, "1", "mp_edge_upper/λ_max."),
)

_TAIL_EXTRAS = (
    Column(
        "num_fingers",
        INT,
        "count",
        "Largest eigenvalues clipped before the fit; NULL unless [tail] clip_fingers.",
    ),
    Column("raw_alpha", REAL, "1", "alpha without clipping; NULL unless [tail] clip_fingers."),
    Column(
        "farms_alpha", REAL, "1", "Mean alpha over square submatrices; NULL unless [tail] farms."
    ),
    Column("farms_alpha_hill", REAL, "1", "Mean Hill estimate over square submatrices."),
    Column(
        "gof_p_value",
        REAL,
        "1",
        "Goodness of fit by semi-parametric bootstrap: below 0.1 the "
        "power law is ruled out; NULL unless [tail] bootstrap.",
    ),
    Column("gof_stderr", REAL, "1", "Monte Carlo standard error of gof_p_value."),
    Column(
        "tpl_alpha",
        REAL,
        "1",
        "Exponent of λ^−alpha·e^(−rate·λ); NULL unless [tail] alternatives, as all below.",
    ),
    Column("tpl_rate", REAL, "1/λ", "Its cut-off rate; 0 when no cut-off improves the fit."),
    Column("tpl_ratio", REAL, "nat", "Log-likelihood of the power law minus this one's, ≤ 0."),
    Column("tpl_p_value", REAL, "1", "χ²₁ probability of −2·tpl_ratio."),
    Column(
        "lognormal_mu", REAL, "ln λ", "Mean of ln λ; NULL when the best lognormal is a power law."
    ),
    Column("lognormal_sigma", REAL, "ln λ", "Standard deviation of ln λ; NULL likewise."),
    Column("lognormal_ratio", REAL, "nat", "Log-likelihood ratio; > 0 favours the power law."),
    Column(
        "lognormal_p_value", REAL, "1", "Vuong's probability: above 0.1 the data do not decide."
    ),
    Column("exponential_rate", REAL, "1/λ", "Rate of e^(−rate·(λ − xmin))."),
    Column("exponential_ratio", REAL, "nat", "Log-likelihood ratio; > 0 favours the power law."),
    Column("exponential_p_value", REAL, "1", "Vuong's probability."),
)

_SHUFFLE = (
    Column("rand_lambda_max", REAL, "λ", "Largest eigenvalue of the first shuffle."),
    Column("rand_mp_sigma", REAL, "1", "Marchenko-Pastur σ of the shuffle, mean-1 units."),
    Column("rand_mp_edge_upper", REAL, "λ", "Upper edge of the shuffle's law."),
    Column("rand_ks_distance", REAL, "1", "KS distance of the shuffle's bulk to the law."),
    Column("rand_ks_p_value", REAL, "1", "p-value of that distance, in [0, 1]."),
    Column("rand_distance", REAL, "√nat", "√ of the Jensen-Shannon divergence between spectra."),
    Column("num_traps", REAL, "count", "Calibrated traps: mean over the replicates."),
    Column("num_traps_ww", INT, "count", "Traps by WeightWatcher's recipe."),
    Column("trap_counts", INTS32, "count", "Calibrated traps of every replicate, in order."),
    Column("trap_threshold", REAL, "λ", "Edge plus Tracy-Widom margin of the first replicate."),
    Column("trap_p_value", REAL, "1", "Smallest Tracy-Widom p over the replicates."),
    Column("trap_excess_max", REAL, "1", "max(λ_rand)/edge − 1 over the traps; NULL without."),
)

_SETOL = (
    Column("erg_num", INT, "count", "Eigenvalues of the largest tail with Σ ln λ below 0."),
    Column("erg_lambda_min", REAL, "1", "Smallest of them, mean-1 units; 0 in the null space."),
    Column("erg_gap", INT, "count", "erg_num − num_tail."),
    Column("erg_delta", REAL, "1", "xmin − erg_lambda_min, mean-1 units."),
    Column("erg_log_ratio", REAL, "nat", "ln(xmin/erg_lambda_min); NULL when that is 0."),
    Column("quality_discrete", REAL, "log10", "log10 Q̄² of the discrete R-transform model."),
    Column("quality_free_cauchy", REAL, "log10", "log10 Q̄² of the free Cauchy model."),
    Column("quality_inverse_mp", REAL, "log10", "log10 Q̄² of the inverse Marchenko-Pastur model."),
    Column("quality_levy_wigner", REAL, "log10", "log10 Q̄² of the Lévy-Wigner model."),
    Column("quality_r_transform", REAL, "log10", "log10 Q̄² from free cumulants κ1..κ5."),
    Column("htsr_phase", TEXT, "text", "`random_like`, `bulk_spikes`, `weakly_heavy`, `heavy`, "
           "`very_heavy` or `rank_collapse`."),
)  # fmt: skip

_COST = (
    Column("read_s", REAL, "s", "Seconds waiting for the layer's bytes."),
    Column("spectrum_s", REAL, "s", "Seconds in the layer's own spectrum."),
    Column("shuffle_s", REAL, "s", "Seconds in its shuffles."),
    Column("total_s", REAL, "s", "Seconds for the layer, all together."),
    Column("bytes_read", INT, "bytes", "Bytes fetched for the layer."),
    Column("device", TEXT, "text", "Where the spectrum was computed: `cpu`, `cuda`."),
)

LAYERS = Table(
    name="layers",
    meaning="One layer of one unit: its shape, spectrum, tail, traps and effective scale.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index"),
    columns=(
        *KEYS,
        *_IDENTITY,
        *_SHAPE,
        *_SCALARS,
        *_TAIL,
        *_SHUFFLE,
        *_SETOL,
        *_COST,
        *_TAIL_EXTRAS,
    ),
)

SPECTRA = Table(
    name="spectra",
    meaning="The eigenvalues of one layer, enough to recompute every tail, edge and ERG number.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index"),
    columns=(
        *KEYS,
        *LAYER_KEYS,
        Column("eigenvalues", REALS32, "λ·2^-e", "Ascending λ, divided by 2^scale_exponent."),
        Column("scale_exponent", INT32, "1", "e: λ = value·2^e."),
        Column("rand_eigenvalues", REALS32, "λ·2^-e",
               "Ascending λ of the first shuffle; NULL when only its top was computed."),
        Column("rand_scale_exponent", INT32, "1", "e of rand_eigenvalues."),
    ),
)  # fmt: skip
