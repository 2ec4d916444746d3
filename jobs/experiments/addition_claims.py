"""What the papers say of modular addition, beside what our scan of weight decays shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from safetensors.numpy import load_file

from jobs.experiments.fourier import circuit_of
from jobs.experiments.phases import Log, Marks, decay_of, kept_near, marks_of, runs_of
from jobs.experiments.place import Claim, Row, Verdict
from jobs.experiments.published import ADDITION, ADDITION_GRAM, ADDITION_KEYS, PHASES

GENERALISED = 0.9
"""Test accuracy from which a network has learned the rule."""


def scan(layers: Sequence[Row], log: Log) -> list[Row]:
    """One row a run: what it reached, when, and what it has at the end."""
    rows = []
    for run in runs_of(log):
        marks = marks_of(log, run)
        own = [row for row in layers if row["name"] == run]
        last = max((row["step"] for row in own), default=0)
        end = [row for row in own if row["step"] == last]
        alphas = [row["alpha"] for row in end if row["alpha"] is not None]
        rows.append(
            {
                "run": run,
                "memorised": marks.memorised,
                "test_then": marks.memorised_accuracy,
                "best_test": marks.peak_accuracy,
                "best_step": marks.peak,
                "last_test": marks.last_accuracy,
                "last_train": marks.last_train_accuracy,
                "three_phases": marks.has_three,
                "traps_at_end": float(sum(row["num_traps"] or 0 for row in end)),
                "mean_alpha_at_end": fmean(alphas) if alphas else None,
            }
        )
    return rows


def edges(layers: Sequence[Row], log: Log) -> list[Row]:
    """alpha and traps of every layer of every run at the right edge of each phase it has."""
    rows: list[Row] = []
    for run, phase, step in _marked(layers, log):
        at = PHASES.index(phase)
        for row in layers:
            layer = row["tensor"].removesuffix(".weight")
            if row["name"] == run and row["step"] == step:
                paper = ADDITION.get(layer)
                rows.append(
                    {
                        "run": run,
                        "phase": phase,
                        "step": step,
                        "layer": layer,
                        "alpha": row["alpha"],
                        "traps": row["num_traps"],
                        "traps_ww": row["num_traps_ww"],
                        "trap_excess": row["trap_excess_max"],
                        "paper_alpha": paper[at] if paper else None,
                        "paper_traps": (paper[3] if at == 2 else 0) if paper else None,
                    }
                )
    return rows


def circuits(zoo: Path, layers: Sequence[Row], log: Log, *, p: int, heads: int) -> list[Row]:
    """Frequencies, keys and kernel of every run at the right edge of each phase it has."""
    rows: list[Row] = []
    for run, phase, step in _marked(layers, log):
        at = PHASES.index(phase)
        tensors = load_file(zoo / run / f"step{step:09d}" / "model.safetensors")
        circuit = circuit_of(tensors, p=p, heads=heads)
        rule = circuit.rule
        rows.append(
            {
                "run": run,
                "phase": phase,
                "step": step,
                "rule_frequencies": " ".join(map(str, rule)),
                "kernel_share_of_rule": float(
                    circuit.kernel[list(rule)].sum() / circuit.kernel.sum()
                ),
                "kernel_power_max": float(circuit.kernel.max()),
                "embed_share_of_rule": float(circuit.embed[list(rule)].sum()),
                "unembed_share_of_rule": float(circuit.unembed[list(rule)].sum()),
                "key_mass": circuit.key_mass,
                "keys_of_rule": len(circuit.key_frequencies & set(rule)),
                "gram_max": " ".join(f"{value:.3g}" for value in circuit.gram_max),
                "mean_gram_max": float(np.mean(circuit.gram_max)),
                "paper_key_mass": ADDITION_KEYS[at],
                "paper_gram_max": " ".join(f"{value:g}" for value in ADDITION_GRAM[at]),
            }
        )
    return rows


def claims(layers: Sequence[Row], log: Log, learned: Sequence[Row]) -> list[Claim]:
    """The papers' statements in order, each with ours."""
    marks = {run: marks_of(log, run) for run in runs_of(log)}
    return [
        _phases(marks),
        _alpha(layers, log, marks),
        _traps(layers, log),
        _keys(learned),
        _gram(learned),
    ]


def _phases(marks: dict[str, Marks]) -> Claim:
    three = [run for run, m in marks.items() if m.has_three]
    generalised = any(m.peak_accuracy >= GENERALISED for m in marks.values())
    words = "; ".join(
        f"decay {decay_of(run):g}: best {m.peak_accuracy:.3f} at {m.peak:,}, last {m.last_accuracy:.3f}"
        for run, m in marks.items()
    )
    return Claim(
        "three phases: memorising, generalising, collapse with train accuracy 1",
        "test 0.40±0.28, 0.97±0.02, 0.68±0.11; set-up not stated",
        f"{len(three)} of {len(marks)} decays ({', '.join(three) or 'none'}); {words}",
        "agrees" if three else "differs" if generalised else "not measured",
    )


def _alpha(layers: Sequence[Row], log: Log, marks: dict[str, Marks]) -> Claim:
    words, near = [], []
    for run, m in marks.items():
        if m.memorised_accuracy is None or m.peak_accuracy < GENERALISED:
            continue
        means = []
        for phase in PHASES:
            alphas = [row["alpha"] for row in edges(layers, log) if row["run"] == run
                      and row["phase"] == phase and row["alpha"] is not None]  # fmt: skip
            means.append(fmean(alphas) if alphas else None)
        words.append(
            f"decay {decay_of(run):g}: "
            + ", ".join("-" if a is None else f"{a:.2f}" for a in means)
        )
        if means[1] is not None:
            near.append(abs(means[1] - 2) < 0.5)
    verdict: Verdict = "not measured"
    if near:
        verdict = "agrees" if all(near) else "differs" if any(near) else "contradicts"
    return Claim(
        "mean alpha is about 2 when the network generalises, higher before and after",
        "4.10±0.83, 2.02±0.44, 3.89±0.68",
        "; ".join(words) or "no run generalised",
        verdict,
    )


def _traps(layers: Sequence[Row], log: Log) -> Claim:
    counts: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for run, phase, step in _marked(layers, log):
        own = [row for row in layers if row["name"] == run and row["step"] == step]
        counts[phase].append(fmean(row["num_traps"] or 0 for row in own))
    words = "; ".join(
        f"{phase}: {', '.join(f'{value:.2f}' for value in values) or 'no run'}"
        for phase, values in counts.items()
    )
    verdict: Verdict = "not measured"
    if counts[PHASES[2]]:
        clean = max(counts[PHASES[0]] + counts[PHASES[1]], default=0) < 0.5
        verdict = "agrees" if clean and min(counts[PHASES[2]]) >= 0.5 else "contradicts"
    return Claim(
        "traps a layer: none before the collapse, several after", "0, 0, 4.88±1.55", words, verdict
    )


def _keys(learned: Sequence[Row]) -> Claim:
    peak = [row for row in learned if row["phase"] == PHASES[1]]
    words = "; ".join(
        f"{row['run']} {row['phase']}: {row['key_mass']:.2f}, {row['keys_of_rule']} of the rule's"
        for row in learned
    )
    before = [row["key_mass"] for row in learned if row["phase"] == PHASES[0]]
    verdict: Verdict = "not measured"
    if peak and before:
        verdict = "agrees" if min(r["key_mass"] for r in peak) > max(before) else "differs"
    return Claim(
        "keys gather on the six frequencies of the rule while the network generalises",
        "0.315, 0.892, 0.985; overlap with the rule 2, 5, 6",
        words or "no phase was reached",
        verdict,
    )


def _gram(learned: Sequence[Row]) -> Claim:
    after = {row["run"]: row["mean_gram_max"] for row in learned if row["phase"] == PHASES[2]}
    before = {row["run"]: row["mean_gram_max"] for row in learned if row["phase"] == PHASES[1]}
    ratios = {run: value / before[run] for run, value in after.items() if run in before}
    words = "; ".join(f"{run}: times {ratio:.3g}" for run, ratio in ratios.items())
    verdict: Verdict = "not measured"
    if ratios:
        verdict = "agrees" if min(ratios.values()) > 10 else "differs"
    return Claim(
        "the largest eigenvalue of the keys' Gram matrix grows sixtyfold in the collapse",
        "about 2 to about 110",
        words or "no run declined",
        verdict,
    )


def _marked(layers: Sequence[Row], log: Log) -> list[tuple[str, str, int]]:
    """(run, phase, kept step) of every phase that a run has and of which a checkpoint is kept."""
    marked = []
    for run in runs_of(log):
        for phase, step in zip(PHASES, marks_of(log, run).edges(), strict=True):
            if step is not None:
                kept = kept_near(layers, run, step, at_most=phase == PHASES[0])
                if kept is not None:
                    marked.append((run, phase, kept))
    return marked
