"""The SQL behind every table of the site, which runs in any DuckDB: nothing here is a black box."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.read.board_kinds import BOARDS, Board
from catalog.read.definitions import FILES, script
from jobs.site.pages.failures import LAYERS, MISSING


@dataclass(frozen=True, slots=True)
class Query:
    """One question that a table answers."""

    anchor: str
    """Where links to it go."""
    title: str
    sql: str
    note: str = ""


def queries() -> list[Query]:
    """Every table's SQL, in the order of the pages."""
    boards = [
        Query(
            f"board-{board.name}",
            f"Leaderboard: {board.name}",
            board_sql(board),
            f"The page adds low and high (the 95 % interval of {board.score} under a bootstrap), "
            "the place in the family, the verdict, and models without a rank: "
            f"from internal.board('{board.key}', 5, null) where standing <> 'ranked'.",
        )
        for board in BOARDS.values()
    ]
    return [
        *boards,
        Query(
            "layers",
            "A model: its layers",
            "-- give the model first: set variable model = 'owner/name';\n"
            "from layers semi join (from current where is_final and model_id = getvariable('model'))\n"
            "    using (sweep_id, model_id, revision, analysis_key)\n"
            "where delta_base is null order by layer_index;",
        ),
        Query(
            "scores",
            "A model: its numbers",
            "from model_scores where is_final and model_id = getvariable('model');",
        ),
        Query(
            "trajectory",
            "A model: its training steps",
            "from trajectories where model_id = getvariable('model') order by step;",
        ),
        Query("compare", "Two models, layer by layer", _COMPARE),
        Query("families", "Families", _FAMILIES),
        Query("failures", "What is not there, and why", f"{MISSING};"),
        Query("failed-layers", "Layers that failed", f"{LAYERS};"),
        Query(
            "model_scores",
            "Every mean over layers: the view below all of these",
            _file("40_scores.sql"),
        ),
    ]


def views_script() -> str:
    """All views for a stock DuckDB; where the catalog lies is left to the reader, as pages travel."""
    return (
        "-- All views of a Spectral Zoo catalog. Give the folder or URL of the catalog, then: duckdb -init zoo.sql\n"
        f"set variable zoo = 'catalog';\n{script()}"
    )


def board_sql(board: Board) -> str:
    """The view of a leaderboard, which needs those of `views_script` below it."""
    return _definition(f"leaderboard_{board.key}")


def _file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _definition(view: str) -> str:
    """The statement that creates a view, as its file has it."""
    for path in sorted(FILES.glob("*.sql")):
        match = re.search(
            rf"(?:^--.*\n)*^create or replace view {view} as\n[^;]*;", path.read_text("utf-8"), re.M
        )
        if match:
            return match[0]
    raise LookupError(f"no view {view} in {FILES}")


_COMPARE = """with chosen as (
    from layers semi join (from current where is_final) using (sweep_id, model_id, revision, analysis_key)
    where delta_base is null
),
a as (from chosen where model_id = getvariable('a')),
b as (from chosen where model_id = getvariable('b'))
select coalesce(a.tensor, b.tensor) as tensor, a.alpha as alpha_a, b.alpha as alpha_b, b.alpha - a.alpha as alpha_delta,
    a.num_traps as num_traps_a, b.num_traps as num_traps_b
from a full join b on a.tensor = b.tensor and a.part is not distinct from b.part
    and a.expert is not distinct from b.expert
order by coalesce(a.layer_index, b.layer_index);"""
_FAMILIES = """select coalesce(family, '(unknown)') as family, count(*) as num_models,
    sum(layers_analysed) as num_layers, median(mean_traps) as median_mean_traps,
    median(mean_alpha) as median_mean_alpha, median(mean_abs_alpha_minus_2) as median_mean_abs_alpha_minus_2,
    median(mean_abs_erg_log_ratio) as median_mean_abs_erg_log_ratio, sum(total_traps) as total_traps
from model_scores where is_final group by all order by num_models desc, family;"""
