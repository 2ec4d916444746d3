"""The probes of one model: its network loaded once, then the traps of one layer after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, get_args

import numpy as np
import torch

from zoo.errors import DecodeError
from zoo.formats.account import account
from zoo.formats.weight import Weight
from zoo.layers.spec import LayerSpec
from zoo.machine.device import choose_device, with_cpu_fallback
from zoo.measure.model import Model
from zoo.measure.row import Probe
from zoo.probes.ablation import ablation_at
from zoo.probes.given import with_data
from zoo.probes.layer import Divergences, Recordings, Variant, controls, divergences
from zoo.probes.modes import ShuffledModes, shuffled_modes
from zoo.probes.network import Network, UnprobeableError
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import PERCEPTRONS, from_factory, perceptron
from zoo.probes.sites import Site, find_site
from zoo.probes.trim import trimmed
from zoo.spectral.arrays import Vector
from zoo.spectral.shuffle import Permutation, PermutationKind

_MATCH = 1e-3
"""Relative difference up to which an eigenvalue computed here is that of a stored trap."""


@dataclass(frozen=True, slots=True)
class KnownTrap:
    """A trap that a sweep has stored."""

    layer_index: int
    replicate: int
    trap_index: int
    eigenvalue: float


@dataclass(frozen=True, slots=True)
class ProbedTrap:
    """A trap and what its probe gave."""

    trap: KnownTrap
    probe: Probe


def load_network(
    model: Model,
    options: ProbeOptions,
    *,
    factory: str | None = None,
    data: Mapping[str, np.ndarray[Any, Any]] | None = None,
    label: str = "",
    limit_bytes: float = math.inf,
) -> Network:
    """The network of a checkpoint: a user's factory, a perceptron, or a transformers architecture.

    Every tensor is read and decoded; raises UnprobeableError where that makes no network. `data`, called
    `label` in the rows, takes the place of random inputs (`zoo.probes.given`).

    It lies on the device of the options. Where that one, or `limit_bytes` of memory, is too small for all
    of it, a network of transformers is read block by block (`zoo.probes.streamed`).
    """
    device = choose_device(options.device)
    room = limit_bytes
    if device.type == "cuda":
        room = min(room, torch.cuda.get_device_properties(device).total_memory)
    if peak_bytes(model.num_params) > room:
        network = _in_blocks(model, options, factory, device, room)
    else:
        network = _built(model, options, factory)
        with_cpu_fallback(network.module.to, device)
    if data is not None:
        network = with_data(network, data, label, seed=options.seed)
    return network


def peak_bytes(num_params: int) -> int:
    """Memory that loading and probing a whole network of so many parameters takes at most."""
    return 3 * 4 * num_params + (1 << 30)


def _in_blocks(
    model: Model, options: ProbeOptions, factory: str | None, device: torch.device, room: float
) -> Network:
    if factory is not None or model.config.get("model_type") in PERCEPTRONS:
        need = peak_bytes(model.num_params)
        raise UnprobeableError(
            f"memory: the network needs about {need / 2**30:.1f} GiB, the workers have "
            f"{room / 2**30:.1f}; probe it on a larger machine"
        )
    from zoo.probes.streamed import streamed

    return streamed(
        model.config,
        _readers(model),
        device=device,
        limit_bytes=room,
        length=options.length,
        position=options.position,
    )


def _built(model: Model, options: ProbeOptions, factory: str | None) -> Network:
    state = _state(model)
    if factory is not None:
        return from_factory(factory, model.config, state)
    if model.config.get("model_type") in PERCEPTRONS:
        return perceptron(model.config, state)
    from zoo.probes.transformer import transformer

    return transformer(model.config, state, length=options.length, position=options.position)


def _state(model: Model) -> dict[str, torch.Tensor]:
    """All tensors by the names that the architecture gives them, decoded."""
    return {name: read() for name, read in _readers(model).items()}


def _readers(model: Model) -> dict[str, Callable[[], torch.Tensor]]:
    """How each tensor is read and decoded, by the name that the architecture gives it."""

    def decoded(weight: Weight) -> torch.Tensor:
        try:
            return weight.load(model.checkpoint)
        except DecodeError as error:
            raise UnprobeableError(f"{weight.name} cannot be decoded: {error}") from error

    accounted = account(model.checkpoint)
    readers: dict[str, Callable[[], torch.Tensor]] = {}
    used: set[str] = set()
    for weight in accounted.weights:
        readers[weight.name] = partial(decoded, weight)
        used.update(weight.sources)
    for name in model.tensors:
        if name not in used and name not in readers:
            readers[name] = partial(model.checkpoint.read, name)
    return readers


def probe_traps(
    model: Model,
    network: Network,
    traps: Sequence[KnownTrap],
    options: ProbeOptions,
    *,
    shuffle_seed: int,
) -> Iterator[ProbedTrap]:
    """Probe the stored `traps` of `model`, layer by layer, in the order of the layers.

    `shuffle_seed`: the user's seed of the sweep that found them. A trap that cannot be probed comes back
    `unprobed` with its reason; nothing is left out in silence.
    """
    with trimmed(network):
        yield from _probed(model, network, traps, options, shuffle_seed)


def _probed(
    model: Model,
    network: Network,
    traps: Sequence[KnownTrap],
    options: ProbeOptions,
    shuffle_seed: int,
) -> Iterator[ProbedTrap]:
    by_layer: dict[int, list[KnownTrap]] = {}
    for trap in sorted(traps, key=lambda t: (t.layer_index, t.replicate, t.trap_index)):
        by_layer.setdefault(trap.layer_index, []).append(trap)
    specs = {spec.layer_index: spec for spec in model.specs if spec.delta_base is None}
    started = time.monotonic()
    for layer_index, of_layer in by_layer.items():
        chosen, left = (
            of_layer[: options.max_traps_per_layer],
            of_layer[options.max_traps_per_layer :],
        )
        if layer_index not in specs:
            why = "delta: the layer is of W − W_base, which the network does not compute with"
            yield from (_unprobed(trap, why) for trap in of_layer)
            continue
        spent = time.monotonic() - started
        if options.budget_s is not None and spent > options.budget_s:
            why = f"budget_s: {options.budget_s:g} s were spent before this layer"
            yield from (_unprobed(trap, why) for trap in of_layer)
            continue
        try:
            yield from _probed_layer(
                model, network, specs[layer_index], of_layer, chosen, options, shuffle_seed
            )
        except UnprobeableError as error:
            yield from (_unprobed(trap, str(error)) for trap in chosen)
        why = f"max_traps_per_layer: {options.max_traps_per_layer} others of the layer were probed"
        yield from (_unprobed(trap, why) for trap in left)


def _unprobed(trap: KnownTrap, reason: str) -> ProbedTrap:
    return ProbedTrap(trap, Probe(probe_reason=reason))


def _probed_layer(
    model: Model,
    network: Network,
    spec: LayerSpec,
    traps: Sequence[KnownTrap],
    chosen: Sequence[KnownTrap],
    options: ProbeOptions,
    shuffle_seed: int,
) -> Iterator[ProbedTrap]:
    """The `chosen` ones of the traps of a layer, those of one shuffled slice together.

    The bulk begins below all of a slice's traps, also below those that a cap leaves out.
    """
    if spec.weight is None or not spec.is_measurable:
        raise UnprobeableError(f"{spec.tensor} is not measured any more")
    matrices, key = spec.load(model.checkpoint), spec.seed_key
    parameters = dict(network.module.named_parameters())
    wanted = {trap.replicate for trap in chosen}
    known = [trap for trap in traps if trap.replicate in wanted]
    recordings = Recordings(network, options)
    for replicate, place, of_slice, modes in _by_slice(matrices, known, key, shuffle_seed):
        probed = [(trap, rank) for trap, rank in of_slice if trap in chosen]
        if not probed:
            continue
        site = _site(network, parameters, matrices[place], spec.tensor)
        if site is None:
            raise UnprobeableError(
                f"no parameter of {type(network.module).__name__} holds the matrix {spec.tensor}"
                f"{'' if spec.part is None else f' ({spec.part})'}; it is computed from others there"
            )
        ablation = ablation_at(network.module, site)
        seed: tuple[str | int, ...] = (*key, replicate, place, options.seed)
        variants = [Variant(modes, rank, 0, seed) for _, rank in probed]
        num_traps = 1 + max(rank for _, rank in of_slice)
        bulk = controls(modes, num_traps, options.num_controls, seed)
        result = divergences(network, ablation, variants, bulk, options, recordings)
        for (trap, _), values in zip(probed, result.of_traps, strict=True):
            probe = _probe(values, result, network, options, is_shared=ablation.is_shared)
            yield ProbedTrap(trap, probe)


def _site(
    network: Network, parameters: Mapping[str, torch.Tensor], matrix: torch.Tensor, name: str
) -> Site | None:
    """Where the matrix lies; of a network in blocks, block by block, those of a like name first."""
    here = {key: value for key, value in parameters.items() if not value.is_meta}
    site = find_site(here, matrix, name=name)
    if site is not None or network.stream is None:
        return site
    blocks = sorted(network.stream.blocks, key=lambda block: block.partition(".")[2] not in name)
    numbers = {block: block.rpartition(".")[2] for block in blocks}
    for block in sorted(blocks, key=lambda block: f".{numbers[block]}." not in f".{name}"):
        with network.stream.loaded(block):
            own = network.stream.blocks[block].named_parameters(prefix=block)
            site = find_site(dict(own), matrix, name=name)
        if site is not None:
            return site
    return None


Slice = tuple[int, int, list[tuple[KnownTrap, int]], ShuffledModes]
"""Replicate, slice, its traps with their ranks, all its modes."""


def _by_slice(
    matrices: torch.Tensor, traps: Sequence[KnownTrap], key: tuple[str, ...], seed: int
) -> Iterator[Slice]:
    """The shuffled slices that hold the traps; a stored trap is recognised by its eigenvalue."""
    num_slices, rows, cols = matrices.shape
    kinds: tuple[PermutationKind, ...] = get_args(PermutationKind)
    for replicate in sorted({trap.replicate for trap in traps}):
        left = [trap for trap in traps if trap.replicate == replicate]
        # measured on a CPU or on an accelerator: the eigenvalues tell which shuffle it was
        for kind, place in product(kinds, range(num_slices)):
            if not left:
                break
            permutation = Permutation.of(key, replicate, place, seed, size=rows * cols, kind=kind)
            modes = shuffled_modes(matrices[place], permutation)
            known = _ranks(left, modes)
            if known:
                yield replicate, place, known, modes
                left = [trap for trap in left if trap not in {t for t, _ in known}]
        if left:
            raise UnprobeableError(
                f"{len(left)} stored traps of {key[0]} are not in its shuffle (eigenvalue "
                f"{left[0].eigenvalue:.6g}): the weights or the seed are other ones than the sweep's"
            )


def _ranks(traps: Sequence[KnownTrap], modes: ShuffledModes) -> list[tuple[KnownTrap, int]]:
    """The traps whose eigenvalue the slice has, with its rank."""
    known: list[tuple[KnownTrap, int]] = []
    taken: set[int] = set()
    for trap in traps:
        evals = modes.sigmas**2
        off = np.abs(evals - trap.eigenvalue)
        rank = next((int(r) for r in np.argsort(off) if int(r) not in taken), 0)
        if off[rank] <= _MATCH * trap.eigenvalue:
            taken.add(rank)
            known.append((trap, rank))
    return known


def _probe(
    values: Vector,
    result: Divergences,
    network: Network,
    options: ProbeOptions,
    *,
    is_shared: bool,
) -> Probe:
    """The columns of one trap."""
    asked = Probe(
        probe_kind=network.probe_kind,
        probe_data=network.label,
        num_probes=int(values.size),
        temperature=options.temperature,
    )
    count = int((~np.isfinite(values)).sum())
    if count or not np.isfinite(result.of_controls).all():
        why = f"logits of {count} of {values.size} probes are not finite"
        return replace(asked, probe_reason=why if count else "logits of a control are not finite")
    measured = replace(
        asked,
        jsd=float(values.mean()),
        jsd_stderr=float(values.std(ddof=1) / np.sqrt(values.size)),
    )
    means = result.of_controls.mean(axis=1)
    if not len(means):
        return replace(measured, probe_reason="no bulk mode to compare with")
    band = float(np.quantile(means, 0.95))
    reason = None
    if not result.is_used:
        reason = "the forward pass does not use this layer"
    elif is_shared:
        reason = "the weight is tied: all places change"
    return replace(
        measured,
        jsd_control_p95=band,
        num_controls=len(means),
        verdict="active" if float(values.mean()) > band else "benign",
        probe_reason=reason,
    )
