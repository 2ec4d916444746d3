"""One task of a probe run -> what its traps gave. The same on every runner; knows no catalog."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from jobs.probe.choose import TrapPlace
from jobs.probe.given import GivenData
from jobs.runners.worker import Work
from jobs.sources.target import Target
from zoo.options import AnalysisOptions, LayerSelection

if TYPE_CHECKING:
    from zoo.measure.row import Probe
    from zoo.probes.network import Network
    from zoo.probes.options import ProbeOptions

_LAYERS = 4
"""Fewest layers of a task, where a unit is cut."""

Probed = dict[tuple[int, int, int], "Probe"]
"""By layer_index, replicate and trap_index."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a unit's probes gave."""

    probes: Probed
    model: dict[str, object]
    """Columns of its row in `models`: the diagnostics, if they were asked for."""


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """Traps of one unit: all of them, or those of some of its layers."""

    target: Target
    selection: LayerSelection
    analysis: AnalysisOptions
    """With which the traps were found."""
    options: ProbeOptions
    traps: tuple[TrapPlace, ...]
    factory: str | None
    peak_bytes: int
    diagnostics: bool
    """Also the columns of `models`."""
    data: GivenData | None = None
    limit_bytes: float = math.inf
    """Memory of a worker: a network that needs more is read block by block."""
    group: int = 0
    """Number of the task within its unit."""
    cost_s: float = math.inf
    """Always worth a GPU."""


def most_tasks(traps: Iterable[TrapPlace]) -> int:
    """Into so many tasks a unit of these traps may be cut."""
    return max(1, len({place[0] for place in traps}) // _LAYERS)


def cut(task: ProbeTask, most: int) -> tuple[ProbeTask, ...]:
    """The task of a whole unit as at most `most` tasks of whole layers each, so that workers without other
    work help. Every value is the same however it is cut; each task loads the network again, so none has
    fewer than _LAYERS layers. A budget of seconds is of the whole model: then it stays one task."""
    layers = sorted({place[0] for place in task.traps})
    count = min(most, most_tasks(task.traps))
    if count < 2 or task.options.budget_s is not None:
        return (task,)
    bounds = [round(i * len(layers) / count) for i in range(count + 1)]
    pieces = [set(layers[first:last]) for first, last in pairwise(bounds)]
    return tuple(
        replace(
            task,
            traps=tuple(place for place in task.traps if place[0] in piece),
            diagnostics=task.diagnostics and group == 0,
            group=group,
        )
        for group, piece in enumerate(pieces)
    )


def joined(results: Sequence[ProbeResult]) -> ProbeResult:
    """What the tasks of a unit gave, as one."""
    return ProbeResult(
        {place: probe for result in results for place, probe in result.probes.items()},
        {name: value for result in results for name, value in result.model.items()},
    )


def prepare() -> None:
    """Once a worker process: what probes load takes seconds."""
    importlib.import_module("zoo.probes.model")


def probe_task(task: ProbeTask) -> ProbeResult:
    """Load the network of a unit and probe its traps.

    A network that cannot be built is no error: every trap says why. Raises the errors of `zoo.errors`
    for what cannot be read.
    """
    from zoo.measure.model import open_model
    from zoo.probes.model import KnownTrap, load_network, probe_traps
    from zoo.probes.network import UnprobeableError

    traps = [KnownTrap(*place) for place in task.traps]
    arrays = None if task.data is None else task.data.read()
    label = "" if task.data is None else task.data.label
    with task.target.reading() as store:
        model = open_model(store, task.selection)
        try:
            network = load_network(
                model,
                task.options,
                factory=task.factory,
                data=arrays,
                label=label,
                limit_bytes=task.limit_bytes,
            )
        except UnprobeableError as error:
            return without_a_network(task.traps, str(error), diagnostics=task.diagnostics)
        columns = _diagnostics(network, task.options) if task.diagnostics else {}
        probed = probe_traps(model, network, traps, task.options, shuffle_seed=task.analysis.seed)
        by_place = {
            (p.trap.layer_index, p.trap.replicate, p.trap.trap_index): p.probe for p in probed
        }
        return ProbeResult(by_place, columns)


def without_a_network(traps: Iterable[TrapPlace], reason: str, *, diagnostics: bool) -> ProbeResult:
    """The result of a unit whose network cannot be had: the reason, in every row."""
    from zoo.measure.row import Probe

    probes = {place[:3]: Probe(probe_reason=reason) for place in traps}
    return ProbeResult(probes, {"diagnostics_reason": reason} if diagnostics else {})


def _diagnostics(network: Network, options: ProbeOptions) -> dict[str, object]:
    from zoo.probes.diagnostics import network_diagnostics
    from zoo.probes.network import UnprobeableError

    try:
        measured = network_diagnostics(network, options)
    except UnprobeableError as error:
        return {"diagnostics_reason": str(error)}
    kind = network.probe_kind
    data = kind if network.label is None else f"{kind}: {network.label}"
    return {**asdict(measured), "diagnostics_data": data, "diagnostics_reason": None}


PROBING = Work(prepare=prepare, run=probe_task)
"""What the workers of a probe run do."""
