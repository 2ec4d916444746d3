"""Columns that more than one table has."""

from __future__ import annotations

from catalog.schema.table import INT, TEXT, Column

KEYS = (
    Column("sweep_id", TEXT, "text", "Sweep that wrote the row.", nullable=False),
    Column(
        "model_id", TEXT, "text",
        "Hub repository, or `local/<folder or file stem>`; stored verbatim.", nullable=False,
    ),
    Column(
        "revision", TEXT, "text",
        "Commit sha (Hub) or content fingerprint (folder): 40 hexadecimal digits.",
        nullable=False,
    ),
    Column(
        "analysis_key", TEXT, "text",
        "Hash of metrics, numeric parameters, and the versions of the metric groups and decoders "
        "that the unit uses.", nullable=False,
    ),
)  # fmt: skip
"""The common keys. (model_id, revision, analysis_key) is the unit; a commit adds the sweep."""

UNIT = ("model_id", "revision", "analysis_key")
"""The columns that name a unit."""
COMMIT = ("sweep_id", *UNIT)
"""The columns that name a commit: one unit in one sweep."""

STEP = Column("step", INT, "steps", "Training step of the revision; NULL outside trajectories.")
"""The step of a unit, which its `models` row and all its layers and evaluations have."""

OPTIONS_KEY = Column(
    "options_key", TEXT, "text",
    "Hash of all that analysis_key hashes, but for the decoders: known before any header is read, and "
    "equal for models swept with equal options. NULL in rows older than this column: analysis_key.",
    since=2,
)  # fmt: skip
"""That of a unit, in every table whose `analysis_key` may depend on decoders not known yet."""
