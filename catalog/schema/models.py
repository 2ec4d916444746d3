"""`models`: one row per finished unit (the commit marker), its `evaluations` and its `tensors`."""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, STEP, UNIT
from catalog.schema.measured import EVALUATION, MODEL, TENSOR
from catalog.schema.table import TEXT, Column, Table

MODELS = Table(
    name="models",
    meaning="One finished unit. Written last: rows of a unit without it are not shown by any view.",
    part_key=UNIT,
    sort_key=UNIT,
    columns=(
        *KEYS,
        *MODEL,
        Column(
            "parts",
            TEXT,
            "JSON",
            "Rows that the commit of the unit wrote to each of the other "
            'tables, and bytes of the file: {"layers": {"rows": 120, "bytes": 40960}, ...}; a '
            "table that is not named got none. A unit whose files hold other numbers of rows is not "
            "done. NULL in rows older than this column.",
            since=2,
        ),
    ),
)

EVALUATIONS = Table(
    name="evaluations",
    meaning="One result claimed by the model card.",
    part_key=COMMIT,
    sort_key=(*UNIT, "task", "dataset", "metric"),
    columns=(
        *KEYS,
        STEP,
        *EVALUATION,
        Column("reason", TEXT, "text", "Why value is NULL; NULL when it is not."),
    ),
)

TENSORS = Table(
    name="tensors",
    meaning="What became of one stored tensor: every tensor of every header, exactly once; and of every "
    "file that could hold weights and is not read.",
    part_key=COMMIT,
    sort_key=(*UNIT, "tensor"),
    columns=(*KEYS, *TENSOR),
)
