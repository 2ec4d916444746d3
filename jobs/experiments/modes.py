"""Traps and bulk modes of a network replaced one by one: J on random inputs, and what the test set says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from zoo.io.memory import memory_checkpoint
from zoo.measure.model import measure, model_of
from zoo.options import AnalysisOptions, LayerSelection
from zoo.probes.ablation import ablation_at
from zoo.probes.layer import Variant, controls, divergences
from zoo.probes.modes import shuffled_modes
from zoo.probes.network import Network
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import perceptron
from zoo.probes.sites import find_site
from zoo.seeds import layer_key, seed_for
from zoo.spectral.shuffle import Permutation

NUM_SHUFFLES = 5
"""Shuffles of each matrix."""
ANALYSIS = AnalysisOptions(replicates=NUM_SHUFFLES, modes=False, incumbent=False)
OPTIONS = ProbeOptions(num_probes=512)
NUM_CONTROLS = 10
"""Bulk modes a shuffle."""

Tested = tuple[torch.Tensor, torch.Tensor]
"""Pictures and labels of a test set."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One replaced mode."""

    run: str
    step: int
    layer: str
    is_trap: bool
    excess: float
    """Of a trap: λ/edge − 1; NaN of a bulk mode."""
    jsd: float
    band: float
    """95th percentile of J over the bulk modes of its shuffle."""
    change: float
    """Change of the test error, in points."""


def error_of(network: Network, tested: Tested) -> float:
    """Test error in per cent."""
    with torch.no_grad():
        said = network.module(tested[0]).argmax(dim=1)
    return 100 * float((said != tested[1]).double().mean())


def modes_of(
    state: Mapping[str, torch.Tensor],
    tested: Tested,
    moments: Mapping[str, float],
    *,
    run: str,
    step: int,
    options: ProbeOptions = OPTIONS,
    num_controls: int = NUM_CONTROLS,
) -> list[Mode]:
    """Every trap of five shuffles of every layer, and `num_controls` bulk modes a shuffle beside them."""
    network = perceptron(moments, state)
    model = model_of(memory_checkpoint(dict(state)), LayerSelection(), revision="memory")
    parameters = dict(network.module.named_parameters())
    before = error_of(network, tested)
    replaced: list[Mode] = []
    specs = {spec.layer_index: spec for spec in model.specs}
    for report in measure(model, ANALYSIS):
        spec = specs[report.row.name.layer_index]
        matrix = state[spec.tensor]
        site = find_site(parameters, matrix, name=spec.tensor)
        if site is None:
            continue
        ablation = ablation_at(network.module, site)
        key = layer_key(spec.tensor, None, None, *matrix.shape)
        for replicate in sorted({t.measured.replicate for t in report.traps}):
            traps = [t.measured.trap for t in report.traps if t.measured.replicate == replicate]
            drawn = seed_for(*key, "shuffle", replicate, 0, 0)
            shuffled = shuffled_modes(matrix, Permutation(drawn, matrix.numel()))
            seed: tuple[str | int, ...] = (*key, replicate, 0, 0)
            ours = [Variant(shuffled, trap.rank, 0, seed) for trap in traps]
            bulk = controls(shuffled, len(traps), num_controls, seed)
            result = divergences(network, ablation, ours, bulk, options)
            band = float(np.quantile(result.of_controls.mean(axis=1), 0.95))
            values = [*result.of_traps.mean(axis=1), *result.of_controls.mean(axis=1)]
            excesses = [*(trap.excess_rel for trap in traps), *(float("nan") for _ in bulk)]
            for number, variant in enumerate([*ours, *bulk]):
                with ablation.by(variant.change()):
                    change = error_of(network, tested) - before
                is_trap = number < len(ours)
                value = float(values[number])
                replaced.append(
                    Mode(run, step, spec.tensor, is_trap, excesses[number], value, band, change)
                )
    return replaced


def without_traps(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
    """(the weights with every trap of the first shuffle of each layer replaced, how many these were)."""
    model = model_of(memory_checkpoint(dict(state)), LayerSelection(), revision="memory")
    specs = {spec.layer_index: spec for spec in model.specs}
    changed = dict(state)
    count = 0
    for report in measure(model, AnalysisOptions(replicates=1, modes=False, incumbent=False)):
        spec = specs[report.row.name.layer_index]
        matrix = state[spec.tensor]
        key = layer_key(spec.tensor, None, None, *matrix.shape)
        traps = [trap.measured.trap for trap in report.traps]
        if traps:
            drawn = seed_for(*key, "shuffle", 0, 0, 0)
            shuffled = shuffled_modes(matrix, Permutation(drawn, matrix.numel()))
            for trap in traps:
                variant = Variant(shuffled, trap.rank, 0, (*key, 0, 0, 0))
                changed[spec.tensor] = changed[spec.tensor] + variant.change().to(matrix)
            count += len(traps)
    return changed, count


def traps_in(state: Mapping[str, torch.Tensor]) -> float:
    """Traps of all layers, the mean over five shuffles."""
    model = model_of(memory_checkpoint(dict(state)), LayerSelection(), revision="memory")
    over_all = sum(len(report.traps) for report in measure(model, ANALYSIS))
    return over_all / NUM_SHUFFLES
