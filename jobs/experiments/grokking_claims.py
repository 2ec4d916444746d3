"""What the papers say of the perceptron, beside what a training of ours shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import fmean, stdev

from scipy.stats import spearmanr

from jobs.experiments.phases import Log, Marks, decay_of, kept_near, marks_of, runs_of
from jobs.experiments.place import Claim, Row, Verdict
from jobs.experiments.published import MLP_ALPHA, MLP_TRAPS, PHASES

_MOVING: dict[str, Callable[[Row], float | None]] = {
    "train_accuracy": lambda row: row["train_accuracy"],
    "l2_norm": lambda row: row["l2_norm"],
    "activation_sparsity": lambda row: row["activation_sparsity"],
    "weight_entropy": lambda row: row["abs_weight_entropy"],
    "matrix_entropy": lambda row: row["matrix_entropy"],
    "circuit_complexity": lambda row: row["circuit_complexity"],
    "total_traps": lambda row: row["total_traps"],
    "max_trap_excess": lambda row: row["max_trap_excess"] or 0.0,
    "mean_alpha": lambda row: row["mean_alpha"],
    "mean_erg_delta": lambda row: row["mean_erg_delta"],
}
"""Measures of a network that are followed through the collapse; entropies are sums and means of layers."""
BLIND = ("l2_norm", "activation_sparsity", "weight_entropy", "circuit_complexity")
"""Those that the papers say do not see it."""


def edges(layers: Sequence[Row], log: Log) -> list[Row]:
    """Traps and alpha of each layer at the right edge of each phase, over the runs of equal decay."""
    chosen: list[Row] = []
    for run in runs_of(log):
        marks = marks_of(log, run)
        for phase, step in zip(PHASES, marks.edges(), strict=True):
            kept = step is not None and kept_near(layers, run, step, at_most=phase == PHASES[0])
            chosen.extend(
                row | {"phase": phase, "decay": decay_of(run)}
                for row in layers
                if kept and row["name"] == run and row["step"] == kept
            )
    chosen.sort(key=lambda row: (row["decay"], row["layer_index"], PHASES.index(row["phase"])))
    return [
        _edge(*key, list(rows))
        for key, rows in groupby(
            chosen, key=lambda row: (row["decay"], row["tensor"], row["phase"])
        )
    ]


def measures(steps: Sequence[Row], layers: Sequence[Row], log: Log) -> list[Row]:
    """Of each measure: its values, whether it leaves the range it had up to the best step, and its rank
    correlation with the test accuracy from there on. Of the runs with all their checkpoints."""
    rows = []
    for run in _whole(steps, log):
        marks = marks_of(log, run)
        series = _series(steps, layers, run)
        before = [r for r in series if (marks.memorised or 0) <= r["step"] <= marks.peak]
        after = [r for r in series if r["step"] >= marks.peak]
        if not before or not after:
            continue
        for name, value in _MOVING.items():
            seen = [v for v in map(value, before) if v is not None]
            pairs = [(v, r["test_accuracy"]) for r in after if (v := value(r)) is not None]
            if not seen or not pairs:
                continue
            last = pairs[-1][0]
            ranks = _spearman(pairs)
            rows.append(
                {
                    "run": run,
                    "measure": name,
                    "least_before": min(seen),
                    "most_before": max(seen),
                    "last": last,
                    "leaves_its_range": not min(seen) <= last <= max(seen),
                    "spearman_after_peak": ranks,
                    "num_steps_after_peak": len(pairs),
                }
            )
    return rows


def claims(steps: Sequence[Row], layers: Sequence[Row], log: Log) -> list[Claim]:
    """The papers' statements in order, each with ours."""
    plain = [run for run in runs_of(log) if decay_of(run) == 0]
    marks = {run: marks_of(log, run) for run in plain}
    said = [_phases(marks), _counts(layers, log), _onset(layers, marks), _growth(layers, marks)]
    said += [_alpha(layers, marks), _blind(measures(steps, layers, log))]
    decayed = {run: marks_of(log, run) for run in runs_of(log) if decay_of(run) > 0}
    if decayed:
        said.append(_with_decay(layers, decayed))
    return said


def _phases(marks: dict[str, Marks]) -> Claim:
    three = [m for m in marks.values() if m.has_three]
    words = "; ".join(
        f"{run}: memorised at {m.memorised}, test {_share(m.memorised_accuracy)}, best "
        f"{m.peak_accuracy:.3f} at {m.peak:,}, last {m.last_accuracy:.3f}"
        for run, m in marks.items()
    )
    return Claim(
        "three phases without weight decay: memorising, generalising, collapse with train accuracy 1",
        "test 0.13 to 0.4, about 0.85 at 10^6 steps, 0.45 to 0.5 at 10^7",
        f"{len(three)} of {len(marks)} runs; {words}",
        "agrees" if len(three) == len(marks) else "differs",  # a longer run may yet decline
    )


def _counts(layers: Sequence[Row], log: Log) -> Claim:
    rows = [row for row in edges(layers, log) if row["decay"] == 0 and row["layer"] != "fc3"]
    if {row["phase"] for row in rows} != set(PHASES):
        return Claim(
            "traps: none before the collapse, some after",
            "0, 0, FC1 7.5±5.6 and FC2 1±0",
            "a phase is missing",
            "not measured",
        )
    by_phase = {p: [row for row in rows if row["phase"] == p] for p in PHASES}
    words = "; ".join(
        f"{phase}: " + ", ".join(f"{row['layer']} {row['traps']}" for row in by_phase[phase])
        for phase in PHASES
    )
    means = [max(row["mean_traps"] for row in by_phase[p]) for p in PHASES]
    verdict: Verdict = "differs"
    if means[2] > 0.5 and max(means[:2]) < 0.5:
        verdict = "agrees"
    elif means[1] >= 0.5:
        verdict = "contradicts"
    return Claim(
        "traps: none before the collapse, some after",
        "0, 0, FC1 7.5±5.6 and FC2 1±0",
        words,
        verdict,
    )


def _onset(layers: Sequence[Row], marks: dict[str, Marks]) -> Claim:
    ratios, words = [], []
    for run, m in marks.items():
        first = _first_trap(layers, run)
        kept = {row["step"] for row in layers if row["name"] == run}
        if first is None or len(kept) < 6:
            continue
        ratios.append(first / m.least_loss)
        words.append(f"{run}: first trap {first:,}, least test loss {m.least_loss:,}")
    verdict: Verdict = "not measured"
    if ratios:
        verdict = "agrees" if all(0.5 <= ratio <= 2 for ratio in ratios) else "contradicts"
    return Claim(
        "the first trap comes at the minimum of the test loss",
        "coincide (both near 10^6 steps)",
        "; ".join(words) or "no run with a trap and enough checkpoints",
        verdict,
    )


def _growth(layers: Sequence[Row], marks: dict[str, Marks]) -> Claim:
    words, grows = [], []
    for run, m in marks.items():
        peak = kept_near(layers, run, m.peak, at_most=False)
        if m.declined is None or peak is None:
            continue
        at = {step: [r for r in layers if r["name"] == run and r["step"] == step] for step in
              (peak, m.declined)}  # fmt: skip
        counts = [sum(r["num_traps"] or 0 for r in rows) for rows in at.values()]
        sizes = [max((r["trap_excess_max"] or 0 for r in rows), default=0) for rows in at.values()]
        grows.append((counts[-1] > counts[0], sizes[-1] > sizes[0]))
        words.append(
            f"{run}: {counts[0]:.3g} to {counts[-1]:.3g} traps, largest {1 + sizes[0]:.3g} to "
            f"{1 + sizes[-1]:.3g} times the edge"
        )
    if not grows:
        return Claim("traps grow in number and size through the collapse", "yes, to 10^6.5 (FC2)",
                     "no run declined", "not measured")  # fmt: skip
    both = all(number and size for number, size in grows)
    verdict: Verdict = (
        "agrees" if both else "differs" if all(s for _, s in grows) else "contradicts"
    )
    return Claim(
        "traps grow in number and size through the collapse",
        "yes, to 10^6.5 (FC2)",
        "; ".join(words),
        verdict,
    )


def _alpha(layers: Sequence[Row], marks: dict[str, Marks]) -> Claim:
    words, below = [], []
    for run, m in marks.items():
        if m.declined is None:
            continue
        for layer in ("fc1", "fc2"):
            alphas = []
            for step in m.edges():
                kept = None if step is None else kept_near(layers, run, step, at_most=False)
                found = [r["alpha"] for r in layers if r["name"] == run and r["step"] == kept
                         and r["tensor"] == f"{layer}.weight" and r["alpha"] is not None]  # fmt: skip
                alphas.append(found[0] if found else None)
            words.append(
                f"{run} {layer}: " + ", ".join("-" if a is None else f"{a:.2f}" for a in alphas)
            )
            if alphas[-1] is not None:
                below.append(alphas[-1] < 2)
    verdict: Verdict = "not measured"
    if below:
        verdict = "agrees" if all(below) else "differs" if any(below) else "contradicts"
    return Claim(
        "alpha comes down towards 2 while the network generalises, and falls below 2 in the collapse",
        "FC1 5.0, 3.6, 0.9; FC2 2.9, 2.3, 1.3",
        "; ".join(words) or "no run declined",
        verdict,
    )


def _blind(rows: Sequence[Row]) -> Claim:
    ours = [row for row in rows if row["measure"] in BLIND and row["run"].endswith("decay0")]
    seeing = sorted({row["measure"] for row in ours if row["leaves_its_range"]})
    blind = sorted({row["measure"] for row in ours} - set(seeing))
    verdict: Verdict = "not measured"
    if ours:
        verdict = (
            "agrees" if not seeing else "contradicts" if len(seeing) == len(BLIND) else "differs"
        )
    return Claim(
        "norm, sparsity, weight entropy and circuit complexity do not see the collapse",
        "none of them tells it",
        f"leave the range they had until the best step: {', '.join(seeing) or 'none'}; "
        f"stay in it: {', '.join(blind) or 'none'}",
        verdict,
    )


def _with_decay(layers: Sequence[Row], marks: dict[str, Marks]) -> Claim:
    declined = [run for run, m in marks.items() if m.declined is not None]
    words = "; ".join(
        f"{run}: best {m.peak_accuracy:.3f} at {m.peak:,}, last {m.last_accuracy:.3f}, "
        f"{_last_traps(layers, run):.3g} traps at the end"
        for run, m in marks.items()
    )
    return Claim(
        "with weight decay 0.01 the test accuracy dips slightly and stays, though traps come",
        "0.83 to 0.85; FC1 2.0 traps, FC2 1.0",
        words,
        "agrees" if not declined else "differs" if len(declined) < len(marks) else "contradicts",
    )


def _edge(decay: float, tensor: str, phase: str, rows: list[Row]) -> Row:
    layer = tensor.removesuffix(".weight")
    at = PHASES.index(phase)
    return {
        "decay": decay,
        "phase": phase,
        "layer": layer,
        "runs": len(rows),
        "steps": _span([row["step"] for row in rows]),
        "traps": _spread([row["num_traps"] for row in rows]),
        "mean_traps": fmean([row["num_traps"] or 0 for row in rows]),
        "traps_tw": _spread([row["num_traps_tw"] for row in rows]),
        "traps_ww": _spread([row["num_traps_ww"] for row in rows]),
        "largest_over_edge": _spread(
            [1 + row["trap_excess_max"] for row in rows if row["trap_excess_max"] is not None]
        ),
        "alpha": _spread([row["alpha"] for row in rows if row["alpha"] is not None]),
        "paper_traps": MLP_TRAPS.get((decay, layer), ("", "", ""))[at],
        "paper_alpha": MLP_ALPHA.get((decay, layer), ("", "", ""))[at],
    }


def _series(steps: Sequence[Row], layers: Sequence[Row], run: str) -> list[Row]:
    """The steps of one run, with what only its layers have."""
    series = []
    for row in steps:
        if row["name"] == run and row["test_accuracy"] is not None:
            own = [r for r in layers if r["name"] == run and r["step"] == row["step"]]
            entropies = [r["matrix_entropy"] for r in own if r["matrix_entropy"] is not None]
            total = sum(r["abs_weight_entropy"] or 0.0 for r in own)
            mean = fmean(entropies) if entropies else None
            series.append(row | {"abs_weight_entropy": total, "matrix_entropy": mean})
    return series


def _whole(steps: Sequence[Row], log: Log) -> list[str]:
    """Runs with more than a few checkpoints."""
    counts = {run: sum(row["name"] == run for row in steps) for run in runs_of(log)}
    return [run for run, count in counts.items() if count >= 6]


def _first_trap(layers: Sequence[Row], run: str) -> int | None:
    """First step at which a layer has a trap in most of its shuffles."""
    return min(
        (r["step"] for r in layers if r["name"] == run and (r["num_traps"] or 0) >= 0.5),
        default=None,
    )


def _last_traps(layers: Sequence[Row], run: str) -> float:
    own = [row for row in layers if row["name"] == run]
    last = max((row["step"] for row in own), default=0)
    return float(sum(row["num_traps"] or 0 for row in own if row["step"] == last))


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """None below five pairs, or where one side does not move."""
    first, second = zip(*pairs, strict=True)
    if len(pairs) < 5 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{fmean(known):.3g}" + (f"±{stdev(known):.2g}" if len(known) > 1 else "")


def _span(steps: Sequence[int]) -> str:
    least, most = min(steps), max(steps)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
