"""`traps`: one row per Correlation Trap of one replicate of one layer."""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS
from catalog.schema.measured import TRAP
from catalog.schema.table import Table

TRAPS = Table(
    name="traps",
    meaning="One eigenvalue of a shuffled layer beyond the calibrated edge, and its mode.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index", "replicate", "trap_index"),
    columns=(*KEYS, *TRAP),
)
