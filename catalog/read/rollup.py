"""Scores of merged units, computed once when they are merged: `_rollup/VERSION/GENERATION.parquet`.

A board reads one row a unit there instead of all layers. The file of a generation holds what the macro
`internal.unit_scores_of` (sql/40_scores.sql) gives for its units; a unit that was measured again since has
another generation, and is computed from its layers, as all are where there is no file. VERSION is a
digest of the SQL: a program whose scores are others does not see the files, and `zoo compact` writes its
own. Readers of the catalog pass over names with an underscore, and nothing is lost with the folder.
"""

from __future__ import annotations

import hashlib
from functools import cache

from catalog.files.folder import Folder
from catalog.read.definitions import Definition, definitions

ROLLUP = "_rollup"
"""Folder of the files."""
SCORES = "unit_scores"
"""The view that reads them."""
KEY = "sweep_id, model_id, revision, analysis_key, generation"
"""Columns that say which rows are valid: those of a unit as it is shown."""
_COMPUTED = ("scored_layers_of", "unit_scores_of")
"""The macros whose results are kept."""


@cache
def version() -> str:
    """What tells these scores from those of another program."""
    texts = [definition.sql for definition in definitions() if definition.name in _COMPUTED]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def is_there(folder: Folder) -> bool:
    """True when the catalog has files of this version; one listing."""
    return bool(folder.names(ROLLUP, version()))


def views_over_files() -> tuple[Definition, ...]:
    """Statements in place of that of SCORES, for a catalog with files."""
    place = (
        f"getvariable('zoo') || '/{ROLLUP}/{version()}/*.parquet'"  # hexadecimal digits, no input
    )
    statements = {
        "rolled_up": f"select * from read_parquet({place}) semi join internal.shown_models using ({KEY})",
        "not_rolled_up": f"from internal.shown_models anti join internal.rolled_up using ({KEY})",
        SCORES: "select * exclude (sweep_id, generation) from internal.rolled_up "
        "union all by name from internal.unit_scores_of('internal.not_rolled_up')",
    }  # fmt: skip
    above = frozenset({"rolled_up", "not_rolled_up", "shown_models", "unit_scores_of"})
    return tuple(
        Definition(name, f"create or replace view internal.{name} as {text}", above - {name})
        for name, text in statements.items()
    )
