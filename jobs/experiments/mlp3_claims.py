"""What SETOL says of its three-layer perceptron, beside what ours shows."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from scipy.stats import spearmanr

from jobs.experiments.place import Claim, Row, Verdict
from jobs.experiments.published import MLP3_ALPHA
from jobs.experiments.training.classifiers import Trial


def settings(layers: Sequence[Row], log: Sequence[Row], trials: Sequence[Trial]) -> list[Row]:
    """One row a setting and layer, the mean over its seeds."""
    rows: list[Row] = []
    for batch, times in dict.fromkeys((trial.batch, trial.times) for trial in trials):
        names = [trial.name for trial in trials if (trial.batch, trial.times) == (batch, times)]
        ends = {name: max(r["step"] for r in layers if r["name"] == name) for name in names}
        told = [row for row in log if ends.get(row["run"]) == row["step"]]
        for layer in ("fc1", "fc2"):
            own = [
                row
                for row in layers
                if row["tensor"] == f"{layer}.weight" and ends.get(row["name"]) == row["step"]
            ]
            rows.append(
                {
                    "batch": batch,
                    "rate": f"×{times}",
                    "layer": layer,
                    "train_error": 1 - fmean(row["train_accuracy"] for row in told),
                    "test_error": 1 - fmean(row["test_accuracy"] for row in told),
                    "alpha": _mean(own, "alpha"),
                    "erg_delta": _mean(own, "erg_delta"),
                    "erg_log_ratio": _mean(own, "erg_log_ratio"),
                    "traps": _mean(own, "num_traps"),
                    "quality": _mean(own, "quality_r_transform"),
                    "paper_alpha": _paper(batch, times, layer),
                }
            )
    return rows


def claims(rows: Sequence[Row], truncations: Sequence[Row]) -> list[Claim]:
    """The paper's statements in order, each with ours."""
    first = [row for row in rows if row["layer"] == "fc1" and row["alpha"] is not None]
    return [
        _alpha(first),
        _alignment(first),
        _traps(rows, is_extreme=any(row["alpha"] < 2 for row in first)),
        _quality(first),
        _truncation(truncations),
    ]


def draw(
    path: Path, layers: Sequence[Row], curves: Mapping[str, Sequence[tuple[float, float]]]
) -> Path | None:
    """alpha against the ERG's log ratio along every training, and the truncation curves."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    funnel, kept = figure.subplots(1, 2)
    for number, layer in enumerate(("fc1", "fc2")):
        fitted = [
            row
            for row in layers
            if row["tensor"] == f"{layer}.weight"
            and None not in (row["alpha"], row["erg_log_ratio"])
        ]
        funnel.scatter(
            [row["alpha"] for row in fitted], [row["erg_log_ratio"] for row in fitted], s=9,
            color=f"C{number}", label=layer,
        )  # fmt: skip
    funnel.axhline(0, color="0.8", linewidth=1, zorder=0)
    funnel.axvline(2, color="0.8", linewidth=1, zorder=0)
    funnel.set(xlabel="alpha", ylabel="ln(start of the tail / trace-log start)", xlim=(1, 8))
    funnel.legend(frameon=False)
    for name, points in curves.items():
        kept.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    kept.set(
        xlabel="share of the components kept in FC1 and FC2", ylabel="test error", xscale="log"
    )
    kept.legend(frameon=False, fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    return path


def _alpha(first: Sequence[Row]) -> Claim:
    below = [f"batch {row['batch']} {row['rate']}" for row in first if row["alpha"] < 2]
    by_rate = [(int(row["rate"][1:]), row["alpha"]) for row in first if row["batch"] == 32]
    rank = _rank(by_rate)
    verdict: Verdict = "not measured"
    if rank is not None:
        extreme = any(name in {"batch 1 ×1", "batch 32 ×32"} for name in below)
        verdict = (
            "agrees" if rank < -0.5 and extreme else "differs" if rank < -0.5 else "contradicts"
        )
    words = ", ".join(f"batch {row['batch']} {row['rate']} {row['alpha']:.2f}" for row in first)
    return Claim(
        "alpha of FC1 falls with the learning rate and with smaller batches, below 2 at the extremes",
        "2.47 at ×16 and batch 2: 2.46; 1.97 at ×32, 1.95 at batch 1",
        f"below 2: {', '.join(below) or 'none'}; {words}",
        verdict,
    )


def _alignment(first: Sequence[Row]) -> Claim:
    pairs = [
        (row["alpha"] - 2, row["erg_log_ratio"])
        for row in first
        if row["erg_log_ratio"] is not None
    ]
    same = sum((a > 0) == (b > 0) for a, b in pairs)
    rank = _rank(pairs)
    crossed = min(a for a, _ in pairs) < 0 < max(a for a, _ in pairs) if pairs else False
    verdict: Verdict = "not measured"
    if rank is not None and crossed:
        verdict = (
            "agrees"
            if rank > 0.5 and same == len(pairs)
            else "differs"
            if rank > 0
            else "contradicts"
        )
    return Claim(
        "the ERG condition is met (Δ crosses 0) where alpha crosses 2",
        "almost linear in FC1",
        f"same sign of alpha − 2 and Δ in {same} of {len(pairs)} settings"
        f"{'' if crossed else ', none of which crossed 2'}; Spearman "
        f"{'-' if rank is None else f'{rank:.2f}'}",
        verdict,
    )


def _traps(rows: Sequence[Row], *, is_extreme: bool) -> Claim:
    trapped = [
        f"{row['layer']} at batch {row['batch']} {row['rate']}: {row['traps']:.3g}"
        for row in rows
        if (row["traps"] or 0) >= 0.5
    ]
    extreme = all("fc1" in name and ("batch 1 " in name or "×32" in name) for name in trapped)
    verdict: Verdict = "agrees" if trapped and extreme else "contradicts"
    if not is_extreme and not trapped:
        verdict = "not measured"  # no setting went where the paper sees it
    return Claim(
        "one trap in FC1 at batch 1 and at ×32, none elsewhere",
        "one eigenvalue leaves the bulk",
        "; ".join(trapped) or "no trap anywhere",
        verdict,
    )


def _quality(first: Sequence[Row]) -> Claim:
    pairs = [(row["alpha"], row["quality"]) for row in first if row["quality"] is not None]
    rank = _rank(pairs)
    verdict: Verdict = "not measured"
    if rank is not None:
        verdict = "agrees" if rank < -0.5 else "contradicts" if rank > 0 else "differs"
    return Claim(
        "the layer quality of FC1 rises as alpha falls",
        "a figure; no number",
        f"Spearman {'-' if rank is None else f'{rank:.2f}'}, {len(pairs)} settings",
        verdict,
    )


def _truncation(rows: Sequence[Row]) -> Claim:
    words, close = [], []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        own = [row for row in rows if row["rule"] == rule]
        train = fmean(row["more_train_error"] for row in own)
        test = fmean(row["more_test_error"] for row in own)
        words.append(f"{rule}: train {100 * train:+.2f}, test {100 * test:+.2f} points")
        close.append(rule != "trace-log" or abs(test) < 0.01)
    return Claim(
        "a network truncated to the effective correlation space keeps its test accuracy",
        "trace-log: Δ test about 0, Δ train to 0.002; power law: Δ train at least 0.0025",
        "; ".join(words),
        "not measured" if not rows else "agrees" if all(close) else "contradicts",
    )


def _paper(batch: int, times: int, layer: str) -> str:
    key = f"batch {batch}" if batch != 32 else f"rate ×{times}"
    values = MLP3_ALPHA.get(key, ((), ()))[layer == "fc2"]
    return f"{fmean(values):.3f}" if values else ""


def _mean(rows: Sequence[Row], column: str) -> float | None:
    known = [row[column] for row in rows if row[column] is not None]
    return fmean(known) if known else None


def _rank(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation; None below three pairs or where one side does not move."""
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) == 1 for side in (0, 1)):
        return None
    first, second = zip(*pairs, strict=True)
    return float(spearmanr(first, second).statistic)
