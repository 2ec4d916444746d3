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
        "Hash of metrics, numeric parameters, decoder and code version.", nullable=False,
    ),
)  # fmt: skip
"""The common keys. (model_id, revision, analysis_key) is the unit; a commit adds the sweep."""

UNIT = ("model_id", "revision", "analysis_key")
COMMIT = ("sweep_id", *UNIT)

LAYER_KEYS = (
    Column("layer_index", INT, "index", "Position of the layer in the model, from 0.",
           nullable=False),
    Column("tensor", TEXT, "text", "Name of the tensor the layer was taken from.", nullable=False),
    Column("part", TEXT, "text",
           "Part of a fused tensor: `q`, `k`, `v`, `gate`, `up`, ...; NULL for a whole tensor."),
    Column("expert", INT, "index", "Number of the expert; NULL outside mixtures of experts."),
)  # fmt: skip
"""What names one layer within a unit."""
