"""`layers`: one row per matrix, and `spectra`: its eigenvalues.

Their columns are those of the measuring package, in the generated `measured`.
"""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, STEP
from catalog.schema.measured import LAYER, SPECTRUM
from catalog.schema.table import Table

LAYERS = Table(
    name="layers",
    meaning="One layer of one unit: its shape, spectrum, tail, traps and effective scale. Rows with a "
    "`delta_base` are of W − W_base ([layers] deltas), numbered behind those of the weights themselves.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index"),
    columns=(*KEYS, STEP, *LAYER),
)

SPECTRA = Table(
    name="spectra",
    meaning="The eigenvalues of one layer, enough to recompute every tail, edge and ERG number.",
    part_key=COMMIT,
    sort_key=("model_id", "revision", "analysis_key", "layer_index"),
    columns=(*KEYS, *SPECTRUM),
)
