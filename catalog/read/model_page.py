"""One model's layers, and two models side by side, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from catalog.errors import QueryError
from catalog.read.query import Answer, ask_rows, columns

VIEWS = ("models", "models_latest", "layers_latest", "delta_layers", "tensors")
"""What these answers are read from."""

LAYER_COLUMNS = (
    "layer_index", "tensor", "part", "expert", "block", "role", "n", "m", "alpha", "alpha_stderr",
    "ks_distance", "num_tail", "tail_warning", "num_traps", "trap_p_value", "trap_excess_max",
    "erg_num", "erg_log_ratio", "stable_rank", "log_spectral_norm", "rand_distance", "htsr_phase",
    "stored_dtype", "status", "reason",
)  # fmt: skip
"""Of a layer: identity, shape, tail, traps, alignment, status."""
DELTA_COLUMNS = (
    "layer_index", "tensor", "part", "expert", "block", "role", "delta_base", "n", "m",
    "delta_relative", "delta_changed", "delta_noise_share", "delta_num_above_noise", "alpha",
    "alpha_stderr", "ks_distance", "num_tail", "tail_warning", "num_traps", "trap_excess_max",
    "erg_log_ratio", "stable_rank", "log_spectral_norm", "rand_distance", "status", "reason",
)  # fmt: skip
"""Of a layer of W − W_base: the base, size, rounding, tail, traps, status."""
METRICS = ("alpha", "num_traps", "trap_excess_max", "erg_log_ratio", "stable_rank",
            "log_spectral_norm", "log_norm", "rand_distance")  # fmt: skip
"""Columns of `layers` that are set side by side when two models are compared."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One analysed revision of a model, as the catalog holds it."""

    model_id: str
    """Hub repository or `local/<name>`."""
    revision: str
    """Commit sha or content fingerprint."""
    step: int | None
    """Training step, if it is part of a trajectory."""


def find_model(con: duckdb.DuckDBPyConnection, model: str) -> ModelRef:
    """The revision `model` names: an id (its newest revision), `id@REVISION` or `id@stepN`.

    Of an id the part behind the last slash will do where it is unique, as a revision may be cut short. Of two
    revisions with one step (a training that went on from a checkpoint) the last one analysed is meant, as in
    the view `trajectories`. QueryError names the nearest ids.
    """
    is_whole = "@" not in model or _is_known(con, model)
    model_id, _, wanted = (model, "", "") if is_whole else model.rpartition("@")
    model_id = _whole_id(con, model_id)
    revisions = ask_rows(
        con,
        """
        select model_id, revision, step from models_latest
        where model_id = $id and case when $wanted = '' then is_final
            else starts_with(revision, $wanted) or 'step' || step = $wanted end
        qualify starts_with(revision, $wanted)
            or row_number() over (partition by step order by committed_at desc, revision) = 1
        order by revision
        """,
        {"id": model_id, "wanted": wanted},
    ).to_pylist()
    if len(revisions) == 1:
        return ModelRef(**revisions[0])
    if revisions:
        raise QueryError(
            f"{model!r} fits {len(revisions)} revisions, such as {revisions[0]['revision']} and "
            f"{revisions[1]['revision']}; give more digits"
        )
    raise QueryError(_not_found(con, model, model_id))


def layer_columns(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Every column that `layers_of` can give, in the order of the table."""
    return columns(con, "layers_latest")


def layers_of(
    con: duckdb.DuckDBPyConnection,
    model: str,
    names: Sequence[str] = LAYER_COLUMNS,
    *,
    deltas: bool = False,
) -> Answer:
    """The layers of a model, or those of its W − W_base, one row each, with the columns `names` of
    `layer_columns`."""
    ref = find_model(con, model)
    return ask_rows(
        con,
        f"""
        select {", ".join(f'"{name}"' for name in names)}
        from {"delta_layers" if deltas else "layers_latest"}
        where model_id = ? and revision = ?
        order by layer_index
        """,
        [ref.model_id, ref.revision],
    )


def base_of(con: duckdb.DuckDBPyConnection, model: str) -> tuple[int, str, str] | None:
    """(number of layers of W − W_base, id of the base, its revision) of a model; None without any."""
    ref = find_model(con, model)
    rows = ask_rows(
        con,
        """
        select count(*) as layers, any_value(l.delta_base) as base, any_value(m.base_revision) as revision
        from delta_layers as l
        join models_latest as m using (sweep_id, model_id, revision, analysis_key)
        where model_id = ? and revision = ?
        """,
        [ref.model_id, ref.revision],
    ).rows
    (count, base, revision), *_ = rows
    return (int(count), str(base), str(revision)) if count else None


def left_out_of(con: duckdb.DuckDBPyConnection, model: str) -> list[tuple[str, int, str]]:
    """(file, bytes, reason) of every file of a model that could hold weights and was not read."""
    ref = find_model(con, model)
    rows = ask_rows(
        con,
        """
        select tensor as file, nbytes, reason
        from tensors semi join models_latest using (sweep_id, model_id, revision, analysis_key)
        where model_id = ? and revision = ? and fate = 'left_out'
        order by file
        """,
        [ref.model_id, ref.revision],
    ).to_pylist()
    return [(str(row["file"]), int(row["nbytes"]), str(row["reason"])) for row in rows]


def skipped_of(con: duckdb.DuckDBPyConnection, model: str) -> dict[str, int]:
    """Tensors of a model that are skipped, counted by reason."""
    ref = find_model(con, model)
    rows = ask_rows(
        con,
        """
        select reason, count(*) as num
        from tensors semi join models_latest using (sweep_id, model_id, revision, analysis_key)
        where model_id = ? and revision = ? and fate = 'skipped'
        group by reason
        order by reason
        """,
        [ref.model_id, ref.revision],
    ).to_pylist()
    return {str(row["reason"]): int(row["num"]) for row in rows}


def compare(con: duckdb.DuckDBPyConnection, a: str, b: str) -> Answer:
    """Two models layer by layer: base against fine-tune, step against step.

    Joined on tensor, part and expert; a layer that only one of them has shows NULLs for the other
    (`presence`: both, a, b). Deltas are b minus a.
    """
    left, right = find_model(con, a), find_model(con, b)
    compared = ", ".join(
        f"x.{m} as {m}_a, y.{m} as {m}_b, y.{m} - x.{m} as {m}_delta" for m in METRICS
    )
    return ask_rows(
        con,
        f"""
        with x as (from layers_latest where model_id = $ma and revision = $ra),
            y as (from layers_latest where model_id = $mb and revision = $rb)
        select
            coalesce(x.tensor, y.tensor) as tensor,
            coalesce(x.part, y.part) as part,
            coalesce(x.expert, y.expert) as expert,
            case when y.tensor is null then 'a' when x.tensor is null then 'b' else 'both' end
                as presence,
            {compared}
        from x full join y
            on x.tensor = y.tensor
            and coalesce(x.part, '') = coalesce(y.part, '')
            and coalesce(x.expert, -1) = coalesce(y.expert, -1)
        order by coalesce(x.layer_index, y.layer_index), tensor, part, expert
        """,
        {"ma": left.model_id, "ra": left.revision, "mb": right.model_id, "rb": right.revision},
    )


def _whole_id(con: duckdb.DuckDBPyConnection, model_id: str) -> str:
    """The id of the one model with this id, or this name at the end of it; else `model_id` itself."""
    if "/" in model_id:
        return model_id
    named = ask_rows(
        con,
        "select distinct model_id from models where model_id = $id or ends_with(model_id, '/' || $id)",
        {"id": model_id},
    ).rows
    return str(named[0][0]) if len(named) == 1 else model_id


def _is_known(con: duckdb.DuckDBPyConnection, model: str) -> bool:
    return bool(ask_rows(con, "select 1 from models where model_id = ? limit 1", [model]).rows)


def _not_found(con: duckdb.DuckDBPyConnection, model: str, model_id: str) -> str:
    """Why `model` names nothing, with what the catalog has instead."""
    if model_id and _is_known(con, model_id):
        quoted = model_id.replace("'", "''")
        return (
            f"no revision of {model_id!r} fits {model!r}; "
            f"`zoo sql CATALOG \"select revision, step from models where model_id = '{quoted}'\"` "
            "lists them"
        )
    near = ask_rows(
        con,
        "select model_id from models group by model_id "
        "order by jaro_winkler_similarity(lower(model_id), lower(?)) desc, model_id limit 3",
        [model],
    )
    names = ", ".join(name for (name,) in near.rows) or "none at all"
    return f"no model {model!r:.200} in the catalog; the nearest: {names}"
