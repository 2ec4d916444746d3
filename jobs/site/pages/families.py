"""The page of families: how many models each has, and how their numbers spread."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from jobs.site.gather import Row
from jobs.site.safe import columnar, slug
from jobs.site.words import meanings_of

_FIGURES = (
    "mean_traps",
    "max_trap_excess",
    "mean_alpha",
    "mean_abs_alpha_minus_2",
    "mean_abs_erg_log_ratio",
)
"""Scores whose median is shown."""


def families(units: Sequence[Row]) -> dict[str, object]:
    """The data of the page: a row a family, and the models behind it for the charts."""
    groups: dict[str, list[Row]] = {}
    for row in units:
        groups.setdefault(row["family"] or "(unknown)", []).append(row)
    rows = [
        _family(name, group)
        for name, group in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    ]
    names = list(rows[0]) if rows else ["family"]
    drawn = {row["family"] for row in rows[:24]}
    dots = [
        {**row, "family": row["family"] or "(unknown)"}
        for row in units
        if (row["family"] or "(unknown)") in drawn
    ]
    return {
        "families": {**columnar(rows, names), "meanings": meanings_of(names), "shown": names},
        "models": columnar(dots[:5000], ["model_id", "family", "mean_alpha", "mean_traps"]),
        "slugs": [slug(row["model_id"]) for row in dots[:5000]],
        "numDrawn": min(len(dots), 5000),
        "numModels": len(units),
    }


def _family(name: str, group: Sequence[Row]) -> Row:
    row: Row = {"family": name, "num_models": len(group)}
    row["num_layers"] = sum(unit["layers_analysed"] for unit in group)
    for figure in _FIGURES:
        values = [unit[figure] for unit in group if unit[figure] is not None]
        row[f"median_{figure}"] = median(values) if values else None
    for figure in ("total_traps", "layers_failed"):
        row[figure] = sum(unit[figure] or 0 for unit in group)
    return row
