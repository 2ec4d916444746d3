"""The columns of what is measured, row by row. Written by `python docs/make_schema.py`, not by hand.

A column is declared, with this text, in the module named above it: there it is changed. λ are the
eigenvalues of WᵀW (squared singular values, no 1/N); n ≥ m are the sides of W. "Mean-1 units" are
λ·count/Σλ.
"""

from __future__ import annotations

from catalog.schema.table import FLAG, INT, INT32, INTS, INTS32, REAL, REALS32, TEXT, TIME, Column

# fmt: off

LAYER_NAME = (
    # zoo.measure.row.LayerName
    Column("layer_index", INT, "index",
           "Position of the layer in the model, from 0.", nullable=False),
    Column("tensor", TEXT, "text",
           "Name of the tensor the layer was taken from.", nullable=False),
    Column("part", TEXT, "text",
           "Part of a fused tensor: `q`, `k`, `v`, `gate`, `up`, ...; NULL for a whole "
           "tensor."),
    Column("expert", INT, "index",
           "Number of the expert; NULL outside mixtures of experts."),
    Column("delta_base", TEXT, "text",
           "Model id of the base model: the row is of the difference W − W_base. NULL: of "
           "the weights themselves.", since=2),
)

LAYER = (
    *LAYER_NAME,
    # zoo.measure.row.Place
    Column("block", INT, "index",
           "Transformer block (or stage) number; NULL outside blocks."),
    Column("role", TEXT, "text",
           "What the matrix does: `q`, `mlp_up`, `embedding`, `conv`, ..."),
    # zoo.measure.row.Stored
    Column("stored_dtype", TEXT, "text",
           "Safetensors code of the stored tensor: `BF16`, ..."),
    Column("decoder", TEXT, "text",
           "`none`, or the decoder of a quantised format."),
    Column("is_dequantised", FLAG, "flag",
           "True when the values were decoded from fewer bits."),
    Column("tied_to", TEXT, "text",
           "Tensor this one shares its values with; NULL if untied."),
    # zoo.measure.row.Shape
    Column("num_rows", INT, "count",
           "Rows of the matrix as stored (of one slice if pooled)."),
    Column("num_cols", INT, "count",
           "Columns of the matrix as stored (of one slice if pooled)."),
    Column("n", INT, "count",
           "Larger side."),
    Column("m", INT, "count",
           "Smaller side: eigenvalues of one slice."),
    Column("q", REAL, "1",
           "Aspect ratio n/m, at least 1; NULL for an empty matrix."),
    Column("receptive_field", INT, "count",
           "Slices pooled into the spectrum: kh·kw; 1 if dense."),
    Column("num_evals", INT, "count",
           "Eigenvalues: m·receptive_field."),
    Column("num_params", INT, "count",
           "Entries of the layer."),
    # zoo.measure.row.Outcome
    Column("status", TEXT, "text",
           "`ok`, `failed` or `skipped`.", nullable=False, choices=("ok", "failed", "skipped")),
    Column("reason", TEXT, "text",
           "Why the layer failed or was skipped, or a number is missing; NULL if there is "
           "nothing to say."),
    # zoo.spectral.scalars.Scalars
    Column("lambda_max", REAL, "λ",
           "Largest eigenvalue, the squared spectral norm."),
    Column("lambda_min", REAL, "λ",
           "Smallest eigenvalue; 0 for a singular matrix."),
    Column("frobenius_norm_sq", REAL, "λ",
           "Squared Frobenius norm, Σλ over all slices of a convolution."),
    Column("log_norm", REAL, "log10 λ",
           "log10 Σλ; NULL for the zero matrix."),
    Column("log_spectral_norm", REAL, "log10 λ",
           "log10 λ_max; NULL for the zero matrix."),
    Column("stable_rank", REAL, "1",
           "Σλ/λ_max, in [1, num_evals]; NULL for the zero matrix."),
    Column("matrix_rank", INT, "count",
           "Eigenvalues above the numerical-rank tolerance; 0 for the zero matrix."),
    Column("matrix_entropy", REAL, "1",
           "−Σ p ln p / ln rank with p = λ/Σλ, in [0, 1]; 0 for rank one, NULL for the zero "
           "matrix."),
    # zoo.spectral.tails.TailFit
    Column("alpha", REAL, "1",
           "Exponent of the power-law tail, > 1, the same at any scale of W; NULL without a "
           "fit."),
    Column("alpha_stderr", REAL, "1",
           "(alpha − 1)/√num_tail, the asymptotic standard error at fixed xmin."),
    Column("alpha_low", REAL, "1",
           "Smallest alpha over all starts of the tail whose KS distance is at most 1.1 "
           "times the smallest: what alpha_stderr, which takes xmin for known, leaves out.",
           since=2),
    Column("alpha_high", REAL, "1",
           "Largest alpha over these starts.", since=2),
    Column("ks_distance", REAL, "1",
           "Kolmogorov-Smirnov distance of the tail fit, max |1 − (λ/xmin)^(1−alpha) − "
           "i/num_tail| over the tail, i = 0..num_tail−1, in [0, 1]."),
    Column("xmin", REAL, "λ",
           "Smallest eigenvalue of the tail."),
    Column("xmax", REAL, "λ",
           "Largest eigenvalue that was fitted; below λ_max when fingers are clipped."),
    Column("num_tail", INT, "count",
           "Eigenvalues in the tail, those ≥ xmin; at least 2."),
    Column("alpha_hat", REAL, "log10 λ^alpha",
           "alpha·log10 λ_max."),
    Column("alpha_hill", REAL, "1",
           "Hill estimate over the upper half of the eigenvalues."),
    Column("log_alpha_norm", REAL, "log10 λ^alpha",
           "log10 Σ λ^alpha over all eigenvalues."),
    Column("tail_warning", TEXT, "text",
           "`over_trained` (alpha < 2), `under_trained` (> 6).",
           choices=("over_trained", "under_trained")),
    Column("tail_status", TEXT, "text",
           "How the fit ended: `ok`, `too_few` (under 20 eigenvalues above the rank "
           "tolerance) or `constant` (they are all equal).",
           choices=("ok", "too_few", "constant")),
    # zoo.spectral.mp.Bulk
    Column("mp_sigma", REAL, "1",
           "Marchenko-Pastur σ of the layer's own bulk, mean-1 units; NULL without a bulk."),
    Column("mp_edge_lower", REAL, "λ",
           "Lower edge of the fitted law."),
    Column("mp_edge_upper", REAL, "λ",
           "Upper edge of the fitted law."),
    Column("mp_num_spikes", INT, "count",
           "Eigenvalues beyond the upper edge and its Tracy-Widom margin."),
    Column("mp_softrank", REAL, "1",
           "mp_edge_upper/λ_max."),
    # zoo.spectral.erg.Erg
    Column("erg_num", INT, "count",
           "Eigenvalues in the first tail from the top with Σ ln λ below 0; NULL for a zero "
           "or constant spectrum."),
    Column("erg_lambda_min", REAL, "1",
           "Smallest eigenvalue of that tail, mean-1 units; 0 when it reaches the null "
           "space."),
    Column("erg_gap", INT, "count",
           "erg_num − num_tail; NULL without a tail fit."),
    Column("erg_delta", REAL, "1",
           "xmin − erg_lambda_min, both in mean-1 units; NULL without a tail fit."),
    Column("erg_log_ratio", REAL, "nat",
           "ln(xmin/erg_lambda_min); NULL without a tail fit, or when erg_lambda_min is 0."),
    # zoo.spectral.setol.Quality
    Column("quality_discrete", REAL, "log10",
           "log10 Q̄² of the discrete R-transform model; NULL unless Q̄² > 0, as all four "
           "below."),
    Column("quality_free_cauchy", REAL, "log10",
           "log10 Q̄² of the free Cauchy model."),
    Column("quality_inverse_mp", REAL, "log10",
           "log10 Q̄² of the inverse Marchenko-Pastur model; NULL without a tail fit."),
    Column("quality_levy_wigner", REAL, "log10",
           "log10 Q̄² of the Lévy-Wigner model, derived for alpha < 2 and computed for any; "
           "NULL without a tail fit."),
    Column("quality_r_transform", REAL, "log10",
           "log10 Q̄² from free cumulants κ1..κ5."),
    # zoo.spectral.phase.HtsrPhase
    Column("htsr_phase", TEXT, "text",
           "`random_like`, `bulk_spikes`, `weakly_heavy`, `heavy`, `very_heavy` or "
           "`rank_collapse`, by the rule of docs/science.md; NULL below 20 eigenvalues, or "
           "without a fit where the rule needs alpha.",
           choices=("random_like", "bulk_spikes", "weakly_heavy", "heavy", "very_heavy", "rank_collapse")),
    # zoo.spectral.snr.Snr
    Column("mp_snr", REAL, "1",
           "Σ√λ over the eigenvalues above mp_edge_upper over Σ√λ of the others; 0 where "
           "none is above. NULL without a bulk, and in rows older than this column until a "
           "refit.", since=3),
    Column("spectrum_snr", REAL, "1",
           "The same with Spectrum's threshold σ(1 + √γ), σ the interquartile range of √λ "
           "over 1.349. Spectrum ranks layers of one kind by this over √λ_max.", since=3),
    # zoo.spectral.diagnostics.EntryStatistics
    Column("weight_mean", REAL, "w",
           "Mean of the entries."),
    Column("weight_std", REAL, "w",
           "Standard deviation of the entries, of the population (divided by their number)."),
    Column("weight_kurtosis", REAL, "1",
           "Excess kurtosis of the entries, m₄/m₂² − 3, ≥ −2; NULL for a constant matrix."),
    Column("weight_max_abs", REAL, "w",
           "Largest absolute entry."),
    Column("l2_norm", REAL, "w",
           "Frobenius norm, √Σw²."),
    Column("abs_weight_entropy", REAL, "nat",
           "−Σ|w| ln|w|, not normalised, negative when large entries dominate; to 1e-8, or "
           "1e-15 for float64 weights."),
    # zoo.spectral.shuffled.Shuffles
    Column("rand_lambda_max", REAL, "λ",
           "Largest eigenvalue of the first shuffle."),
    # zoo.spectral.shuffled.TrapSummary
    Column("rand_mp_sigma", REAL, "1",
           "Marchenko-Pastur σ of the first shuffle, mean-1 units."),
    Column("rand_mp_edge_upper", REAL, "λ",
           "Upper edge of the shuffle's law."),
    Column("num_traps", REAL, "count",
           "Calibrated traps: mean over the replicates."),
    Column("num_traps_stderr", REAL, "count",
           "Standard error of num_traps over the replicates; NULL with one replicate.", since=2),
    Column("num_traps_tw", REAL, "count",
           "Traps of the same test without the correction for the kurtosis of the entries, "
           "mean over the replicates: the papers' definition with a margin calibrated for "
           "Gaussian entries. Heavy entries raise it.", since=2),
    Column("trap_counts", INTS32, "count",
           "Calibrated traps of every replicate, in order."),
    Column("trap_threshold", REAL, "λ",
           "Edge plus Tracy-Widom margin of the first replicate."),
    Column("trap_p_value", REAL, "1",
           "Probability that noise of these entries shows a λ_max as large, combined over "
           "the replicates so that it is uniform when there is no trap."),
    Column("trap_excess_max", REAL, "1",
           "max(λ_rand)/edge − 1 over the traps; NULL without."),
    # zoo.spectral.shuffled.RandSpectrum
    Column("rand_ks_distance", REAL, "1",
           "Kolmogorov-Smirnov distance of the shuffled spectrum to its law; NULL, as the "
           "two below, when only the top of it was computed."),
    Column("rand_ks_p_value", REAL, "1",
           "p-value of that distance, in [0, 1]."),
    Column("rand_distance", REAL, "√nat",
           "√ of the Jensen-Shannon divergence between the spectra of the layer and of its "
           "shuffle."),
    # zoo.spectral.localisation.TrapCauses
    Column("num_traps_mean", REAL, "count",
           "Traps that a mean of the entries which is not zero makes (mean_overlap at least "
           "1/2), mean over the replicates: perhaps innocuous. NULL unless [traps] modes; "
           "traps whose mode was not computed are in neither of the two counts.", since=2),
    Column("num_traps_entries", REAL, "count",
           "The other traps, which a few large entries make, mean over the replicates; NULL "
           "likewise.", since=2),
    # zoo.spectral.shuffled.Shuffles
    Column("num_traps_ww", INT, "count",
           "Traps by WeightWatcher's recipe."),
    # zoo.spectral.clipped_tail.Clipping
    Column("num_fingers", INT, "count",
           "Largest eigenvalues clipped before the fit, 0 to 10; NULL unless [tail] "
           "clip_fingers."),
    Column("raw_alpha", REAL, "1",
           "alpha of the whole spectrum, without clipping; NULL unless [tail] clip_fingers."),
    # zoo.spectral.bootstrap.GoodnessOfFit
    Column("gof_p_value", REAL, "1",
           "Goodness of fit by semi-parametric bootstrap, the share of synthetic sets with a"
           " KS distance ≥ the observed: below 0.1 the power law is ruled out; NULL unless "
           "[tail] bootstrap."),
    Column("gof_stderr", REAL, "1",
           "Monte Carlo standard error of gof_p_value, √(p(1−p)/draws), at least "
           "1/(2·draws)."),
    # zoo.spectral.tail_models.TailModels
    Column("tpl_alpha", REAL, "1",
           "Exponent of λ^−alpha·e^(−rate·λ), any real number, the power law's when the rate"
           " is 0; NULL unless [tail] alternatives, as all to `exponential_p_value`."),
    Column("tpl_rate", REAL, "1/λ",
           "Its cut-off rate; 0 when no cut-off improves the fit."),
    Column("tpl_ratio", REAL, "nat",
           "Log-likelihood of the power law minus this one's; ≤ 0, since the power law is "
           "the case rate = 0."),
    Column("tpl_p_value", REAL, "1",
           "χ²₁ probability of −2·tpl_ratio; conservative, as rate ≥ 0 is a boundary."),
    Column("lognormal_mu", REAL, "ln λ",
           "Mean of ln λ before truncation; NULL when the best lognormal is a power law."),
    Column("lognormal_sigma", REAL, "ln λ",
           "Standard deviation of ln λ before truncation; NULL likewise."),
    Column("lognormal_ratio", REAL, "nat",
           "Log-likelihood ratio; > 0 favours the power law."),
    Column("lognormal_p_value", REAL, "1",
           "Vuong's probability: above 0.1 the data do not decide."),
    Column("exponential_rate", REAL, "1/λ",
           "Rate of e^(−rate·(λ − xmin))."),
    Column("exponential_ratio", REAL, "nat",
           "Log-likelihood ratio; > 0 favours the power law."),
    Column("exponential_p_value", REAL, "1",
           "Vuong's probability."),
    # zoo.spectral.farms.Farms
    Column("farms_alpha", REAL, "1",
           "Mean of the maximum-likelihood alpha over square submatrices; NULL unless [tail]"
           " farms."),
    Column("farms_alpha_hill", REAL, "1",
           "Mean of the Hill estimate at the median over square submatrices, the estimator "
           "of the paper; NULL unless [tail] farms."),
    # zoo.spectral.difference.Difference
    Column("delta_relative", REAL, "1",
           "‖W − W_base‖/‖W_base‖ (Frobenius); two matrices that have nothing to do with "
           "each other are near 1.4. NULL where W_base is 0 everywhere, and in rows of the "
           "weights themselves, as all columns `delta_…`.", since=2),
    Column("delta_changed", REAL, "1",
           "Share of the entries that are not exactly those of the base, in (0, 1].", since=2),
    Column("delta_noise_share", REAL, "1",
           "Share of rounding in ‖W − W_base‖²: Σ ulp²/12 over the stored entries of W, in "
           "rows and columns where anything changed. Near or above 1: the difference is "
           "below what the stored type can hold. NULL for codes of a quantised format on "
           "either side, whose rounding is larger and not known.", since=2),
    Column("delta_noise_edge", REAL, "λ",
           "Largest eigenvalue that this rounding alone would have (Marchenko-Pastur edge "
           "and Tracy-Widom margin, at 1 %). The tail is fitted to the eigenvalues above it,"
           " and those below count as 0 for the ERG condition.", since=2),
    Column("delta_num_above_noise", INT, "count",
           "Eigenvalues above delta_noise_edge: of a merged LoRA its rank, or less.", since=2),
    # zoo.measure.row.Effort
    Column("spectrum_s", REAL, "s",
           "Seconds in the layer's own spectrum."),
    Column("shuffle_s", REAL, "s",
           "Seconds in its shuffles."),
    Column("device", TEXT, "text",
           "Where the spectrum was computed: `cpu`, `cuda`."),
    Column("solver", TEXT, "text",
           "What computed the eigenvalues: `lapack`, `cusolver_batched`, `torch_batched`, or"
           " `torch` for one matrix after the other. Their values differ in the last bits.",
           since=3),
    Column("permutation", TEXT, "text",
           "How the entries were shuffled: `fisher_yates` (on a CPU, and in all rows that "
           "are older than this column) or `philox` (on an accelerator); NULL without "
           "shuffles.", since=3),
    Column("batch_size", INT, "count",
           "Layers that were solved together; fewer than planned where the accelerator ran "
           "out of memory.", since=3),
    # zoo.measure.row.Reading
    Column("read_s", REAL, "s",
           "Seconds waiting for the layer's bytes."),
    Column("bytes_read", INT, "bytes",
           "Bytes fetched for the layer."),
    Column("total_s", REAL, "s",
           "Seconds for the layer, all together."),
    # zoo.measure.row.Counterpart
    Column("delta_base_tensor", TEXT, "text",
           "Name of the tensor of the base model that was subtracted; NULL where there was "
           "none.", since=2),
    Column("delta_base_dtype", TEXT, "text",
           "Safetensors code of that tensor as stored.", since=2),
    # zoo.measure.row.ProbedLayer
    Column("num_active_traps", REAL, "count",
           "Active traps of a shuffle, the mean over the shuffles of which a trap was "
           "probed; NULL where none was. Traps beyond a cap are in neither count: the table "
           "`traps` says which.", since=2),
)

TRAP = (
    *LAYER_NAME,
    # zoo.measure.row.MeasuredTrap
    Column("replicate", INT, "index",
           "Number of the shuffle, from 0.", nullable=False),
    Column("trap_index", INT, "index",
           "Rank of the trap in it, largest first, from 1.", nullable=False),
    # zoo.spectral.trap_test.Trap
    Column("eigenvalue", REAL, "λ",
           "The eigenvalue of the shuffled matrix.", since=2, was="lambda"),
    Column("excess_rel", REAL, "1",
           "lambda/edge − 1, edge = v·n(1 + √γ)² the Marchenko-Pastur one of the slice."),
    Column("p_value", REAL, "1",
           "Its Tracy-Widom p-value, under the bulk that the larger traps of its slice "
           "leave, corrected for the number of slices, in [0, 1]."),
    # zoo.spectral.localisation.Localisation
    Column("ipr_left", REAL, "1",
           "Inverse participation ratio Σu⁴, in [1/rows, 1]; u, v: leading singular vectors "
           "of the mode carried back to the original places. NULL, as all below, where the "
           "mode was not computed."),
    Column("ipr_right", REAL, "1",
           "Inverse participation ratio Σv⁴, in [1/cols, 1]."),
    Column("localisation_q", REAL, "1",
           "√(q_left·q_right), q = (IPR − p)/(1 − p) clipped to [0, 1], p = 3/(length + 2) "
           "the Porter-Thomas value: 0 for a random vector, 1 for a single entry."),
    Column("participation_ratio", REAL, "1",
           "√ of the product of ‖u‖₂/‖u‖₄ and ‖v‖₂/‖v‖₄; 1 for a single entry."),
    Column("top5_mass", REAL, "1",
           "Share of Σ|T| in the largest 5 % of the mode's entries."),
    Column("top10_mass", REAL, "1",
           "Share of Σ|T| in the largest 10 % of them."),
    Column("rank1_mass", REAL, "1",
           "s₁²/Σs² of the mode carried back."),
    Column("top_overlap", REAL, "1",
           "Overlap with W's own top singular sector, √(‖Uᵀu‖²·‖Vᵀv‖²), in [0, 1]."),
    Column("mean_overlap", REAL, "1",
           "(Σu/√rows · Σv/√cols)² of the shuffled mode: near 1 when the trap is nothing but"
           " a non-zero mean, near 0 when large entries make it."),
    # zoo.measure.row.Probe
    Column("jsd", REAL, "nat",
           "J: mean Jensen-Shannon divergence of the outputs when the mode is replaced, in "
           "[0, ln 2]; NULL when not probed. Comparable within one model only."),
    Column("jsd_stderr", REAL, "nat",
           "Standard error of jsd over the probes."),
    Column("jsd_control_p95", REAL, "nat",
           "95th percentile of J over bulk modes of the same shuffled matrix, replaced "
           "alike."),
    Column("probe_kind", TEXT, "text",
           "What was fed in: `random_tokens`, `gaussian`, `data`."),
    Column("num_probes", INT, "count",
           "Probes behind jsd."),
    Column("temperature", REAL, "1",
           "τ of the softmax."),
    Column("verdict", TEXT, "text",
           "`active` (jsd above jsd_control_p95), `benign`, `unprobed`.",
           nullable=False, choices=("active", "benign", "unprobed")),
    Column("num_controls", INT, "count",
           "Ablations of bulk modes behind jsd_control_p95.", since=2),
    Column("probe_reason", TEXT, "text",
           "Why there is no verdict, or what is special about it: a cap, a network that "
           "cannot be built, a layer that the network never uses, a tied weight; NULL where "
           "no probe was asked for.", since=2),
    Column("probe_data", TEXT, "text",
           "Name of the file of given data, and the first 12 digits of its sha256; NULL for "
           "random inputs.", since=3),
)

SPECTRUM = (
    *LAYER_NAME,
    # zoo.measure.row.SpectrumRow
    Column("eigenvalues", REALS32, "λ·2^-e",
           "Ascending λ, divided by 2^scale_exponent."),
    Column("scale_exponent", INT32, "1",
           "e: λ = value·2^e."),
    Column("rand_eigenvalues", REALS32, "λ·2^-e",
           "Ascending λ of the first shuffle; NULL when only its top was computed."),
    Column("rand_scale_exponent", INT32, "1",
           "e of rand_eigenvalues."),
)

TENSOR = (
    # zoo.measure.row.TensorRow
    Column("tensor", TEXT, "text",
           "Name in the header; of a file that is not read, the file's.", nullable=False),
    Column("dtype", TEXT, "text",
           "Safetensors code; NULL for a file."),
    Column("shape", INTS, "count",
           "Shape as stored; NULL for a file."),
    Column("fate", TEXT, "text",
           "`analysed`, `companion` (bias, scale, zero point), `skipped`, `unknown` (an "
           "error), or `left_out`: a file that could hold weights and is not read.",
           nullable=False, choices=("analysed", "companion", "skipped", "unknown", "left_out")),
    Column("reason", TEXT, "text",
           "Why, for every fate but `analysed`."),
    Column("nbytes", INT, "bytes",
           "Bytes as stored."),
)

MODEL = (
    # jobs.sweep.model_row.ModelRow
    Column("name", TEXT, "text",
           "Last piece of model_id."),
    Column("author", TEXT, "text",
           "Owner of the repository; NULL for folders."),
    Column("library", TEXT, "text",
           "Library named by the model card: `transformers`, ..."),
    Column("pipeline_tag", TEXT, "text",
           "Task named by the model card."),
    Column("architecture", TEXT, "text",
           "First of the config's `architectures`."),
    Column("licence", TEXT, "text",
           "Licence named by the model card."),
    Column("downloads", INT, "count",
           "Downloads of the last 30 days, at plan time."),
    Column("likes", INT, "count",
           "Likes, at plan time."),
    Column("base_model", TEXT, "text",
           "Model id this one was derived from."),
    Column("last_modified", TIME, "UTC",
           "Last change of the repository."),
    Column("family", TEXT, "text",
           "Family of architectures: `llama`, `bert`, ..."),
    Column("step", INT, "steps",
           "Training step of the revision; NULL outside trajectories."),
    Column("num_params", INT, "count",
           "Parameters of the checkpoint."),
    Column("layers_analysed", INT, "count",
           "Layers with status `ok`, as in the two below of the model's own weights.",
           nullable=False),
    Column("layers_skipped", INT, "count",
           "Layers skipped with a reason.", nullable=False),
    Column("layers_failed", INT, "count",
           "Layers that failed with a reason.", nullable=False),
    Column("bytes_read", INT, "bytes",
           "Bytes fetched, headers included."),
    Column("bytes_analysed", INT, "bytes",
           "Bytes of the tensors analysed."),
    Column("requests", INT, "count",
           "Requests (or reads) made."),
    Column("seconds", REAL, "s",
           "Wall time of the unit."),
    Column("versions", TEXT, "JSON",
           "Versions of the packages that computed the numbers; `refit`: of those that "
           "computed the ones that follow from spectra anew."),
    Column("host", TEXT, "text",
           "Label of the machine, as the sweep chose to name it."),
    Column("device", TEXT, "text",
           "Where spectra were computed: `cpu`, `cuda`."),
    Column("committed_at", TIME, "UTC",
           "When the unit was finished.", nullable=False),
    Column("source", TEXT, "text",
           "The spec's source the unit came from."),
    Column("base_revision", TEXT, "text",
           "Revision of the base model that an adapter was put on, or whose weights were "
           "subtracted in the rows of W − W_base; NULL where the numbers depend on no other "
           "model.", since=2),
    Column("options_key", TEXT, "text",
           "Hash of all that analysis_key hashes, but for the decoders: known before any "
           "header is read, and equal for models swept with equal options. NULL in rows "
           "older than this column: analysis_key.", since=2),
    Column("decoders", TEXT, "text",
           "Decoders that its layers go through, as `layers` names them, separated by "
           "commas; `unknown` among them: a tensor is refused. NULL in rows older than this "
           "column.", since=2),
    Column("number_versions", TEXT, "JSON",
           "Versions of metric groups and decoders that are hashed in analysis_key, those "
           "above 1; NULL: there are none.", since=2),
    Column("asked", TEXT, "JSON",
           "What the numbers were asked for with: options, choice of layers, versions of the"
           " numbers and their groups, without a base model. Numbers of models with the same"
           " can be compared. NULL in rows older than this column.", since=2),
    Column("deltas_analysed", INT, "count",
           "Layers of W − W_base with status `ok`; NULL where these were not asked for, or "
           "no base is known.", since=2),
    Column("deltas_skipped", INT, "count",
           "Those that were skipped: equal to the base, of another shape, or not in it.", since=2),
    Column("deltas_failed", INT, "count",
           "Those that failed with a reason.", since=2),
    Column("weights_key", TEXT, "text",
           "Hash of the weight files, of an adapter and of its base, by what their listing "
           "says of the bytes: equal weights have equal ones. NULL where it does not tell, "
           "and in rows older than this column.", since=2),
    Column("settings_key", TEXT, "text",
           "Hash of the config files beside the weights, without what decides no number "
           "(where the model came from, which version of a library wrote it).", since=2),
    Column("measured_at", TEXT, "text",
           "`model_id@revision` where the weights were read, when that was done for another "
           "row of this table: equal weights under another commit, id or path, or the "
           "analysis that a refit started from. Times, bytes, host and device are of that "
           "measurement. NULL where they were read for this row.", since=2),
    Column("activation_sparsity", REAL, "1",
           "Share of the activations below 0.1 behind the activation functions, on the "
           "probes; NULL until `zoo probe --diagnostics`, and where the network has no such "
           "module.", since=2),
    Column("circuit_complexity", REAL, "nat",
           "Approximate local circuit complexity: KL of the outputs when a tenth of all "
           "weights is set to 0, the mean over the probes; NULL likewise.", since=2),
    Column("diagnostics_data", TEXT, "text",
           "What the two above were measured on: `random_tokens`, `gaussian`.", since=2),
    Column("diagnostics_reason", TEXT, "text",
           "Why they are NULL although they were asked for.", since=2),
    Column("num_params_active", INT, "count",
           "Parameters used for one token: all but the experts that a token is not sent to. "
           "NULL where the config does not say how many it is sent to, and in rows older "
           "than this column.", since=3),
    Column("num_params_embedding", INT, "count",
           "Parameters in tables of tokens, positions and segments. NULL in rows older than "
           "this column.", since=3),
    Column("pruned_at", TIME, "UTC",
           "When `zoo prune` gave the unit up. Such a row is a tombstone: no view shows it "
           "or any row of its unit, and the next compaction takes them all away. So NULL in "
           "every row that is shown.", since=3),
)

EVALUATION = (
    # zoo.card.Evaluation
    Column("task", TEXT, "text",
           "Task of the result, such as `text-classification`."),
    Column("dataset", TEXT, "text",
           "Data set, with configuration and split when given: `glue (sst2, validation)`."),
    Column("metric", TEXT, "text",
           "Name of the metric: `accuracy`, `train_accuracy`, ...", nullable=False),
    Column("value", REAL, "as the metric",
           "The number as the card has it, fraction or percentage; NULL when it gives none."),
)
