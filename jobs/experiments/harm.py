"""Experiment `harm`: does J tell which traps matter, and does a network heal without them?

Takes the zoo and catalog of experiment `grokking` in the same folder (made first where it is not there). Of every
checkpoint from the best step on: each trap of five shuffles and bulk modes as controls are replaced one by one, J on
random inputs beside the change of the test error. Then all traps are removed at the end and training goes on.
Prototype pictures, pixel-shuffled and Gaussian inputs, as in appendices B and G of the papers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import spearmanr

from jobs.experiments import grokking
from jobs.experiments.behaviour import behaviour, forgotten, prototypes
from jobs.experiments.harm_figure import draw_harm, draw_prototypes
from jobs.experiments.healing import healing
from jobs.experiments.measuring import layers_of
from jobs.experiments.modes import Mode, modes_of
from jobs.experiments.phases import kept_near, marks_of, runs_of
from jobs.experiments.place import Claim, Findings, Place, Row, Table, Verdict
from jobs.experiments.training.drive import read_log
from jobs.experiments.training.perceptrons import Pictures

TITLE = "Traps that matter"
MAX_CHECKPOINTS = 3
"""Checkpoints of the decline of which every trap is replaced, as in the papers: first, middle, last."""


def run(place: Place, setup: grokking.Setup | None = None) -> Findings:
    """The experiment `grokking`, then its traps one by one."""
    setup = setup or grokking.SETUPS[place.scale]
    grokking.run(place, setup)
    log = read_log(place.out / "training")["rows"]
    pictures = grokking.pictures_of(place, setup)
    layers = layers_of(place)
    runs = [run for run in runs_of(log) if len(_declining(layers, log, run)) > 1]
    modes: list[Mode] = []
    healed: list[Row] = []
    shown: list[Row] = []
    templates: dict[str, NDArray[np.float64]] = {}
    for name in runs:
        steps = _declining(layers, log, name)
        seed = int(name.split("-")[0].removeprefix("seed"))
        tested = _testing(pictures, seed)
        for step in steps:
            state = _weights(place.zoo, name, step)
            place.progress.say(f"{name}, step {step:,}: every trap is replaced in turn")
            modes += modes_of(state, tested, _moments(pictures, seed), run=name, step=step)
        for step in (steps[0], steps[-1]):
            shown += behaviour(_weights(place.zoo, name, step), tested, run=name, step=step)
        last = _weights(place.zoo, name, steps[-1])
        templates |= prototypes(last, prefix=f"{name} {steps[-1]:,}")
        healed += healing(last, pictures, setup, seed=seed, run=name, step=steps[-1])
        healed += forgotten(last, tested, run=name, step=steps[-1])
    figures = [
        draw_harm(place.out / "figures" / "harm.png", modes),
        draw_prototypes(place.out / "figures" / "prototypes.png", templates),
    ]
    return Findings(
        title=TITLE,
        setup={"scale": place.scale, "runs": runs, "modes": len(modes)},
        tables=[
            Table("J against the change of the test error", correlations(modes)),
            Table("Traps removed at the end, and training gone on with", healed),
            Table("What the network says of shuffled pixels and of noise", shown),
        ],
        claims=claims(modes, healed, shown),
        figures=[figure for figure in figures if figure is not None],
        notes=[] if runs else ["No run declined with its traps: nothing to replace."],
    )


def correlations(modes: Sequence[Mode]) -> list[Row]:
    """Spearman's correlation of J, and of a trap's size, with |Δ test error|, by run and all together."""
    rows: list[Row] = []
    groups: dict[str, list[Mode]] = {"all": list(modes)}
    for mode in modes:
        groups.setdefault(f"{mode.run} step {mode.step}", []).append(mode)
    for name, own in groups.items():
        traps = [mode for mode in own if mode.is_trap]
        bulk = [mode for mode in own if not mode.is_trap]
        harm = [abs(mode.change) for mode in traps]
        by_j = _ranks([mode.jsd for mode in traps], harm)
        by_size = _ranks([mode.excess for mode in traps], harm)
        by_bulk = _ranks([mode.jsd for mode in bulk], [abs(mode.change) for mode in bulk])
        rows.append(
            {
                "of": name,
                "traps": len(traps),
                "spearman_j": by_j[0],
                "p_j": by_j[1],
                "spearman_size": by_size[0],
                "p_size": by_size[1],
                "bulk_modes": len(bulk),
                "spearman_j_bulk": by_bulk[0],
                "healed_by_removal": sum(mode.change < -1 for mode in traps),
                "least_change": min((mode.change for mode in traps), default=None),
                "most_change": max((mode.change for mode in traps), default=None),
            }
        )
    return rows if modes else []


def claims(modes: Sequence[Mode], healed: Sequence[Row], shown: Sequence[Row]) -> list[Claim]:
    """The papers' statements, each with ours."""
    traps = [mode for mode in modes if mode.is_trap]
    rho, p = _ranks([mode.jsd for mode in traps], [abs(mode.change) for mode in traps])
    verdict: Verdict = "not measured"
    if rho is not None and p is not None:
        verdict = "agrees" if rho > 0 and p < 0.01 else "contradicts" if rho <= 0 else "differs"
    said = [
        Claim(
            "J tells traps whose replacement changes the test error from those that are benign",
            "a figure; no number",
            f"Spearman {_number(rho)}, p = {_number(p)}, {len(traps)} traps",
            verdict,
        )
    ]
    said.append(_return(healed))
    last = {row["run"]: row["step"] for row in shown}
    noise = [
        row
        for row in shown
        if row["inputs"] == "Gaussian noise" and row["step"] == last[row["run"]]
    ]
    if noise:
        share = float(np.mean([row["share_of_commonest"] for row in noise]))
        said.append(
            Claim(
                "of Gaussian inputs a declined network says nearly always the same class",
                "class 5, nearly always",
                "; ".join(
                    f"{row['run']} step {row['step']:,}: class {row['commonest']} in "
                    f"{row['share_of_commonest']:.0%}"
                    for row in noise
                ),
                "agrees" if share > 0.8 else "differs" if share > 0.4 else "contradicts",
            )
        )
    return said


def _return(healed: Sequence[Row]) -> Claim:
    """Whether traps come back. Where the replacement leaves as many, there is nothing to come back."""
    words, verdicts = [], []
    for run in dict.fromkeys(row["run"] for row in healed):
        rows = {row["what"]: row for row in healed if row["run"] == run}
        gone = rows["all traps removed"]
        on = rows["all traps removed, then trained on"]
        without = rows["nothing removed, trained on"]
        words.append(
            f"{run}: test {gone['test_before']:.3f}, removed {gone['test_accuracy']:.3f} with "
            f"{gone['traps']:.3g} traps left in other shuffles, {on['steps']:,} steps later "
            f"{on['test_accuracy']:.3f} with {on['traps']:.3g} (nothing removed: "
            f"{without['test_accuracy']:.3f})"
        )
        if gone["traps"] < without["traps"] - 0.5:
            verdicts.append(on["traps"] > gone["traps"])
    verdict: Verdict = "not measured"
    if verdicts:
        verdict = "agrees" if all(verdicts) else "contradicts"
    return Claim(
        "a trap that is removed comes back when training goes on",
        "typically re-appears; no number",
        "; ".join(words) or "no run declined",
        verdict,
    )


def _declining(layers: Sequence[Row], log: Sequence[Mapping[str, Any]], run: str) -> list[int]:
    """Kept steps from the best one on: the best, the middle, the last; fewer where no others are kept."""
    marks = marks_of(log, run)
    best = kept_near(layers, run, marks.peak, at_most=False)
    kept = sorted({row["step"] for row in layers if row["name"] == run})
    if best is None or marks.declined is None:
        return []
    after = [step for step in kept if step >= best]
    return sorted({after[0], after[len(after) // 2], after[-1]})[:MAX_CHECKPOINTS]


def _weights(zoo: Path, run: str, step: int) -> dict[str, torch.Tensor]:
    tensors = load_file(zoo / run / f"step{step:09d}" / "model.safetensors")
    return {name: torch.from_numpy(values) for name, values in tensors.items()}


def _testing(pictures: Pictures, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = pictures.testing(seed)
    return torch.from_numpy(pictures.images[chosen]), torch.from_numpy(pictures.labels[chosen])


def _moments(pictures: Pictures, seed: int) -> dict[str, float]:
    chosen = pictures.images[pictures.training(seed)]
    return {"input_mean": float(chosen.mean()), "input_std": float(chosen.std())}


def _ranks(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float | None]:
    """(Spearman's correlation, its p-value); None below five pairs or where one side does not move."""
    if len(first) < 5 or len(set(first)) == 1 or len(set(second)) == 1:
        return None, None
    result = spearmanr(first, second)
    return float(result.statistic), float(result.pvalue)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
