"""Takes traps out of weights: in a module, undoable; or out of the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch
from jaxtyping import Float32, Real

from zoo.errors import UseError
from zoo.io.memory import memory_checkpoint
from zoo.layers.spec import LayerSpec
from zoo.measure.model import measure, model_of
from zoo.measure.row import LayerRow
from zoo.options import AnalysisOptions, LayerSelection
from zoo.probes.modes import shuffled_modes
from zoo.probes.replacement import replacement
from zoo.probes.sites import Site, find_site
from zoo.spectral.shuffle import Permutation, PermutationKind


@dataclass(frozen=True, slots=True)
class RemovedTrap:
    """A trap that was replaced by a random matrix of its mean and spread."""

    tensor: str
    part: str | None
    expert: int | None
    trap_index: int
    """Rank in the first shuffle, largest first, from 1."""
    eigenvalue: float
    """λ of the shuffled matrix."""


class RemovedTraps:
    """The traps taken out of a module, and the way back. In a `with`, it is undone at the end."""

    def __init__(self, removed: Sequence[RemovedTrap], kept: Sequence[_Kept]) -> None:
        self.removed = tuple(removed)
        """What was replaced, layer by layer."""
        self._kept = list(kept)

    def undo(self) -> None:
        """Put the weights back, bit for bit. Calling twice is harmless."""
        with torch.no_grad():
            while self._kept:
                kept = self._kept.pop()
                kept.site.view(kept.parameter).copy_(kept.values)

    def __enter__(self) -> RemovedTraps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a parameter held before."""

    parameter: torch.Tensor
    site: Site
    values: torch.Tensor


def remove_traps(
    module: torch.nn.Module,
    layers: Sequence[str] = ("*",),
    *,
    max_traps_per_layer: int | None = None,
    seed: int = 0,
    config: Mapping[str, object] | None = None,
) -> RemovedTraps:
    """Replace the Correlation Traps of a module's weights, in place: W − T + R.

    `layers`: globs on tensor names. `max_traps_per_layer`: only the largest so many of each layer.
    `seed`: the one that the traps were found with. `config`: the model's config.json, which tells heads
    and experts. The traps are those of the first shuffle, all of a layer at once; R is Gaussian with T's
    mean and standard deviation (science.md "Probes").

        with zoo.remove_traps(model, ("*.mlp.*",)) as traps:
            evaluate(model)                      # undone behind the block; or traps.undo()

    UseError for globs that match no layer, and for a weight that the module computes from others.
    """
    selection = LayerSelection(include=tuple(layers))
    model = model_of(memory_checkpoint(module, config), selection, revision="memory")
    if not any(spec.is_measurable for spec in model.specs):
        raise UseError(f"layers: {tuple(layers)!r} match no layer of {type(module).__name__}")
    parameters = dict(module.named_parameters())
    removed: list[RemovedTrap] = []
    kept: list[_Kept] = []
    options = AnalysisOptions(replicates=1, seed=seed, modes=False, incumbent=False)
    specs = {spec.layer_index: spec for spec in model.specs}
    for report in measure(model, options):
        spec = specs[report.row.name.layer_index]
        traps = [t.measured for t in report.traps][:max_traps_per_layer]
        if not traps:
            continue
        matrices = spec.load(model.checkpoint).detach().clone()
        places: dict[int, list[int]] = {}
        for trap in traps:
            places.setdefault(trap.trap.slice_index, []).append(trap.trap.rank)
            removed.append(
                RemovedTrap(
                    spec.tensor, spec.part, spec.expert, trap.trap_index, trap.trap.eigenvalue
                )
            )
        for place, ranks in places.items():
            site = find_site(parameters, matrices[place], name=spec.tensor)
            if site is None:
                RemovedTraps((), kept).undo()
                raise UseError(
                    f"{spec.tensor} is no parameter of the module, but computed from others"
                )
            parameter = parameters[site.parameter]
            kept.append(_Kept(parameter, site, site.view(parameter).detach().clone()))
            change = change_without(
                matrices[place], spec, ranks, place=place, seed=seed, kind=kind_of(report.row)
            )
            with torch.no_grad():
                site.add(parameter, change)
    return RemovedTraps(removed, kept)


def kind_of(row: LayerRow) -> PermutationKind:
    """How the layer of a row was shuffled."""
    effort = row.measured.effort
    return "philox" if effort is not None and effort.permutation == "philox" else "fisher_yates"


def change_without(
    matrix: Real[torch.Tensor, "rows cols"],
    spec: LayerSpec,
    ranks: Sequence[int],
    *,
    place: int,
    seed: int,
    kind: PermutationKind = "fisher_yates",
) -> Float32[torch.Tensor, "rows cols"]:
    """ΔW that replaces the modes of those ranks of the first shuffle of slice `place`: Σ (R − T)."""
    key = spec.seed_key
    permutation = Permutation.of(key, 0, place, seed, size=matrix.numel(), kind=kind)
    modes = shuffled_modes(matrix, permutation)
    change = torch.zeros(matrix.shape)
    for rank in ranks:
        change += replacement(modes.carried(rank), *key, 0, place, seed, "replacement", rank, 0)
    return change
