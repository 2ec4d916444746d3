"""`traps`: one row per Correlation Trap of one replicate of one layer."""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, LAYER_KEYS
from catalog.schema.table import INT, REAL, TEXT, Column, Table

TRAPS = Table(
    name="traps",
    meaning="One eigenvalue of a shuffled layer beyond the calibrated edge, and its mode.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index", "replicate", "trap_index"),
    columns=(
        *KEYS,
        *LAYER_KEYS,
        Column("replicate", INT, "index", "Number of the shuffle, from 0.", nullable=False),
        Column("trap_index", INT, "index", "Rank of the trap in it, largest first, from 1.",
               nullable=False),
        Column("lambda", REAL, "λ", "The eigenvalue of the shuffled matrix."),
        Column("excess_rel", REAL, "1", "lambda/edge − 1."),
        Column("p_value", REAL, "1", "Its Tracy-Widom p-value, in [0, 1]."),
        Column("ipr_left", REAL, "1", "Inverse participation ratio Σu⁴; u, v: leading singular "
               "vectors of the mode carried back to the original places."),
        Column("ipr_right", REAL, "1", "Inverse participation ratio Σv⁴."),
        Column("localisation_q", REAL, "1", "√(q_left·q_right), q the IPR centred at the "
               "Porter-Thomas value 3/(length + 2), in [0, 1]: 1 for a single entry."),
        Column("participation_ratio", REAL, "1", "√ of the product of ‖u‖₂/‖u‖₄ and ‖v‖₂/‖v‖₄; "
               "1 for a single entry."),
        Column("top5_mass", REAL, "1", "Share of Σ|T| in the largest 5 % of the mode's entries."),
        Column("top10_mass", REAL, "1", "Share of Σ|T| in the largest 10 % of them."),
        Column("rank1_mass", REAL, "1", "s₁²/Σs² of the mode carried back."),
        Column("top_overlap", REAL, "1", "Overlap with W's own top singular sector, in [0, 1]."),
        Column("mean_overlap", REAL, "1", "(Σu/√rows · Σv/√cols)² of the shuffled mode: near 1 "
               "when the trap is nothing but a non-zero mean, near 0 when large entries make it."),
        Column("jsd", REAL, "nat", "Mean Jensen-Shannon divergence of the outputs when the mode "
               "is replaced; NULL when not probed."),
        Column("jsd_stderr", REAL, "nat", "Standard error of jsd over the probes."),
        Column("jsd_control_p95", REAL, "nat", "95th percentile of jsd over bulk modes."),
        Column("probe_kind", TEXT, "text", "What was fed in: `random_tokens`, `gaussian`, `data`."),
        Column("num_probes", INT, "count", "Probes behind jsd."),
        Column("temperature", REAL, "1", "τ of the softmax."),
        Column("verdict", TEXT, "text", "`active` (jsd above the control), `benign`, `unprobed`.",
               nullable=False, choices=("active", "benign", "unprobed")),
    ),
)  # fmt: skip
