"""`models`: one row per finished unit (the commit marker), its `evaluations` and its `tensors`."""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, OPTIONS_KEY, STEP, UNIT
from catalog.schema.measured import EVALUATION, TENSOR
from catalog.schema.table import INT, REAL, TEXT, TIME, Column, Table

MODELS = Table(
    name="models",
    meaning="One finished unit. Written last: rows of a unit without it are not shown by any view.",
    part_key=UNIT,
    sort_key=UNIT,
    columns=(
        *KEYS,
        Column("name", TEXT, "text", "Last piece of model_id."),
        Column("author", TEXT, "text", "Owner of the repository; NULL for folders."),
        Column("library", TEXT, "text", "Library named by the model card: `transformers`, ..."),
        Column("pipeline_tag", TEXT, "text", "Task named by the model card."),
        Column("architecture", TEXT, "text", "First of the config's `architectures`."),
        Column("licence", TEXT, "text", "Licence named by the model card."),
        Column("downloads", INT, "count", "Downloads of the last 30 days, at plan time."),
        Column("likes", INT, "count", "Likes, at plan time."),
        Column("base_model", TEXT, "text", "Model id this one was derived from."),
        Column("last_modified", TIME, "UTC", "Last change of the repository."),
        Column("family", TEXT, "text", "Family of architectures: `llama`, `bert`, ..."),
        Column("step", INT, "steps", "Training step of the revision; NULL outside trajectories."),
        Column("num_params", INT, "count", "Parameters of the checkpoint."),
        Column("layers_analysed", INT, "count", "Layers with status `ok`.", nullable=False),
        Column("layers_skipped", INT, "count", "Layers skipped with a reason.", nullable=False),
        Column("layers_failed", INT, "count", "Layers that failed with a reason.", nullable=False),
        Column("bytes_read", INT, "bytes", "Bytes fetched, headers included."),
        Column("bytes_analysed", INT, "bytes", "Bytes of the tensors analysed."),
        Column("requests", INT, "count", "Requests (or reads) made."),
        Column("seconds", REAL, "s", "Wall time of the unit."),
        Column(
            "versions",
            TEXT,
            "JSON",
            "Versions of the packages that computed the numbers; `refit`: of those that computed "
            "the ones that follow from spectra anew.",
        ),
        Column("host", TEXT, "text", "Label of the machine, as the sweep chose to name it."),
        Column("device", TEXT, "text", "Where spectra were computed: `cpu`, `cuda`."),
        Column("committed_at", TIME, "UTC", "When the unit was finished.", nullable=False),
        Column("source", TEXT, "text", "The spec's source the unit came from."),
        Column("base_revision", TEXT, "text", "Revision of the base model that an adapter was "
               "put on; NULL where the numbers depend on no other model.", since=2),
        OPTIONS_KEY,
        Column("decoders", TEXT, "text", "Decoders that its layers go through, as `layers` names them, "
               "separated by commas; `unknown` among them: a tensor is refused. NULL in rows older "
               "than this column.", since=2),
        Column("number_versions", TEXT, "JSON", "Versions of metric groups and decoders that are "
               "hashed in analysis_key, those above 1; NULL: there are none.", since=2),
    ),
)  # fmt: skip

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
    meaning="What became of one stored tensor: every tensor of every header, exactly once.",
    part_key=COMMIT,
    sort_key=(*UNIT, "tensor"),
    columns=(*KEYS, *TENSOR),
)
