"""What was asked and what went wrong: `sweeps`, `listing`, `failures`."""

from __future__ import annotations

from catalog.schema.keys import COMMIT, KEYS, OPTIONS_KEY
from catalog.schema.table import INT, TEXT, TIME, Column, Table

CAUSES = ("data", "hub_permanent", "hub_transient", "resource", "poison", "infra", "changed", "bug")
"""Why a unit failed, as the retry policy sees it."""

FAILURES = Table(
    name="failures",
    meaning="The last failure of one unit in one sweep.",
    part_key=COMMIT,
    sort_key=("sweep_id", "model_id", "revision", "analysis_key"),
    columns=(
        *KEYS,
        Column("cause", TEXT, "text", "`data`, `hub_permanent`, `hub_transient`, `resource`, "
               "`poison`, `infra`, `changed` or `bug`.", nullable=False, choices=CAUSES),
        Column("error_type", TEXT, "text", "Name of the exception's class.", nullable=False),
        Column("message", TEXT, "text", "What we got, what we wanted, what to do.",
               nullable=False),
        Column("traceback", TEXT, "text", "Python traceback, token-free; NULL when the process "
               "died without one."),
        Column("attempts", INT, "count", "Attempts made in this sweep.", nullable=False),
        Column("log_uri", TEXT, "text", "Where the worker's log is."),
        Column("failed_at", TIME, "UTC", "When the last attempt ended.", nullable=False),
        OPTIONS_KEY,
    ),
)  # fmt: skip

SWEEPS = Table(
    name="sweeps",
    meaning="One run of `zoo sweep`; written at its start and again at its end.",
    part_key=("sweep_id",),
    sort_key=("sweep_id",),
    columns=(
        Column("sweep_id", TEXT, "text", "Identifies the run; sorts by its start.",
               nullable=False),
        Column("name", TEXT, "text", "Name in the spec.", nullable=False),
        Column("spec", TEXT, "TOML", "The spec as run, without tokens."),
        Column("versions", TEXT, "JSON", "Versions of the packages that ran it."),
        Column("num_listed", INT, "count", "Units the sources named."),
        Column("num_done", INT, "count", "Units finished by this sweep."),
        Column("num_skipped", INT, "count", "Units found finished already."),
        Column("num_failed", INT, "count", "Units that ended in `failures`."),
        Column("started_at", TIME, "UTC", "Start.", nullable=False),
        Column("ended_at", TIME, "UTC", "End; NULL while it runs or when it was killed."),
        Column("status", TEXT, "text", "`running` (or killed), `done` or `interrupted`.",
               nullable=False, choices=("running", "done", "interrupted")),
        Column("exit_code", INT, "1", "Exit code of the command; NULL while it runs."),
    ),
)  # fmt: skip

LISTING = Table(
    name="listing",
    meaning="One unit a sweep planned to have in the catalog, finished already or not.",
    part_key=("sweep_id",),
    sort_key=("sweep_id", "model_id", "revision", "analysis_key"),
    columns=(
        *KEYS,
        Column("source", TEXT, "text", "The spec's source that named the unit."),
        Column("step", INT, "steps", "Training step of the revision; NULL outside trajectories."),
        Column("listed_at", TIME, "UTC", "When the plan was made.", nullable=False),
        OPTIONS_KEY,
    ),
)
