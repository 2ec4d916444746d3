"""One task of a probe run -> what its traps gave. The same on every runner; knows no catalog."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jobs.probe.choose import TrapPlace
from jobs.runners.worker import Work
from jobs.sources.target import Target
from zoo.options import AnalysisOptions, LayerSelection

if TYPE_CHECKING:
    from zoo.measure.row import Probe
    from zoo.probes.network import Network
    from zoo.probes.options import ProbeOptions

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
    """The traps of one unit."""

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
    group: int = 0
    """A unit is one task: its network is loaded once."""
    cost_s: float = math.inf
    """Always worth a GPU."""


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
    with task.target.reading() as store:
        model = open_model(store, task.selection)
        try:
            network = load_network(model, task.options, factory=task.factory)
        except UnprobeableError as error:
            return without_a_network(task.traps, str(error), diagnostics=task.diagnostics)
        columns = _diagnostics(network, task.options) if task.diagnostics else {}
        found = probe_traps(model, network, traps, task.options, shuffle_seed=task.analysis.seed)
        by_place = {
            (p.trap.layer_index, p.trap.replicate, p.trap.trap_index): p.probe for p in found
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
    return {**asdict(measured), "diagnostics_data": network.probe_kind, "diagnostics_reason": None}


PROBING = Work(prepare=prepare, run=probe_task)
"""What the workers of a probe run do."""
