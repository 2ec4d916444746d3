"""A probe run over a catalog: tasks onto a runner, verdicts back into the rows of `traps`.

The driver is the only writer. A unit is committed when its traps are through, so a killed run goes on
where it stopped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

from catalog.files.folder import Folder
from catalog.files.layout import check_marker
from catalog.files.lock import compact_lock
from catalog.read import views
from catalog.read.stored_units import StoredRows, UnitFiles
from jobs.probe.choose import ProbeUnit, Which, probe_units, target_of
from jobs.probe.given import GivenData, given_data
from jobs.probe.work import (
    PROBING,
    Probed,
    ProbeResult,
    ProbeTask,
    cut,
    joined,
    most_tasks,
    without_a_network,
)  # fmt: skip
from jobs.refit.pen import Pen
from jobs.runners.classes import most_memory
from jobs.runners.schedule import Schedule, UnitFailed
from jobs.runners.starting import start_runner
from jobs.screen.progress import Progress
from jobs.spec.tables import RunTable, Spec
from zoo.cells import cells
from zoo.errors import MissingPathError, TransientError
from zoo.probes.options import ProbeOptions

NAME = "probe"
"""Name of probe runs in the table `sweeps`."""
_GIB = 2**30
_COPIES = 3
"""Times the float32 size of a network that loading and probing it takes at most."""
_FINAL = ("data", "hub_permanent", "resource", "poison")
"""Causes that stay what they are when the same is tried again: they become the reason in the rows."""
_PASSING = (MissingPathError.__name__,)
"""A folder that is not there now may be on a disk that is not mounted."""
_TURN_S = 0.5
"""Seconds that an answer is waited for in one turn."""


@dataclass(slots=True)
class Tally:
    """What a probe run did."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Traps by verdict."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Traps by the reason in their row."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(model id, message) of units whose rows were left as they were."""
    num_units: int = 0

    def rows(self) -> list[dict[str, object]]:
        """One row a verdict."""
        return [{"verdict": name, "traps": count} for name, count in self.verdicts.most_common()]


def probe_catalog(
    root: str,
    which: Which,
    options: ProbeOptions,
    *,
    run: RunTable,
    factory: str | None = None,
    data: str | None = None,
    progress: Progress,
) -> Tally:
    """Probe the traps of the catalog `root`. LockedError while a compaction or a refit runs.

    `data`: a file of inputs that takes the place of random ones; UseError where it cannot be read.
    """
    tally = Tally()
    options = replace(options, device=run.device)
    given = None if data is None else given_data(data)
    with ExitStack() as stack:
        folder = Folder.parse(root)
        check_marker(folder)
        stack.enter_context(compact_lock(root))
        con = stack.enter_context(views.connect(root))
        units = probe_units(con, which)
        progress.say(f"{len(units)} units to probe")
        if not units:
            return tally
        pen = Pen(root, con, UnitFiles(con, folder), name=NAME)
        status = "interrupted"
        try:
            plan = _Plan(options, factory, given, which.without_traps)
            _probe(units, plan, run, pen, tally, progress)
            status = "done"
        finally:
            pen.close(status)
    return tally


def probe_sweep(spec: Spec, root: str, model_ids: Collection[str], *, quiet: bool) -> int:
    """The probes that a sweep's spec asks for, of its own models; the exit code."""
    probes = spec.probes
    options = ProbeOptions(
        num_probes=probes.num_probes,
        temperature=probes.temperature,
        max_traps_per_layer=probes.max_traps_per_layer,
        position=probes.position,
        length=probes.length,
        budget_s=probes.budget_s,
        seed=probes.seed,
    )
    progress = Progress(quiet=quiet)
    which = Which(ids=frozenset(model_ids), without_traps=probes.diagnostics)
    run = _of_probes(spec)
    tally = probe_catalog(
        root, which, options, run=run, factory=probes.factory, data=probes.data, progress=progress
    )
    for model_id, why in tally.failed:
        progress.say(f"{model_id}: {why}")
    return 1 if tally.failed else 0


def _of_probes(spec: Spec) -> RunTable:
    """`[run]` with what `[probes]` says of its own workers."""
    probes = spec.probes
    own = {"workers": probes.workers, "gpus": probes.gpus, "memory": probes.memory}
    given = {name: value for name, value in own.items() if value is not None}
    return spec.run.model_copy(update=given)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How all units of a run are probed."""

    options: ProbeOptions
    factory: str | None
    data: GivenData | None
    diagnostics: bool


def _probe(
    units: Sequence[ProbeUnit],
    plan: _Plan,
    run: RunTable,
    pen: Pen,
    tally: Tally,
    progress: Progress,
) -> None:
    """Turns of starting tasks and committing what came back, in this thread alone."""
    asks_hub = any(unit.source.startswith(("hub:", "query:")) for unit in units)
    most_workers = sum(most_tasks(unit.traps) for unit in units)
    starting = start_runner(PROBING, run, asks_hub=asks_hub, most_workers=most_workers)
    with closing(starting) as runner:
        schedule: Schedule[ProbeUnit, ProbeTask, ProbeResult] = Schedule(
            lambda: runner.classes, retries=run.retries
        )
        waiting = list(units)[::-1]
        while waiting or schedule.num_open_units or schedule.num_running:
            while waiting and schedule.num_waiting < max(runner.num_hoped, 1):
                # workers that the units left leave idle share the layers of this one
                helpers = runner.num_hoped // len(waiting)
                unit = waiting.pop()
                task = _task(unit, plan, most_memory(runner.classes))
                if isinstance(task, ProbeTask):
                    schedule.add(unit, cut(task, helpers))
                elif isinstance(task, ProbeResult):
                    _settle(unit, task, pen, tally, progress)
                else:
                    tally.failed.append((unit.keys["model_id"], task))
            free = dict(runner.free)
            while (started := schedule.next(time.monotonic(), free)) is not None:
                next_task, class_name = started
                free[class_name] -= 1
                runner.submit(next_task, class_name)
            runner.want(schedule.demand)
            progress.lacks_workers(runner.wants)
            for done in runner.wait(_TURN_S):
                event = schedule.ended(done.task, done.outcome, time.monotonic())
                if isinstance(event, UnitFailed):
                    why = f"{event.cause}: {event.message}"
                    if event.cause in _FINAL and event.error_type not in _PASSING:
                        nothing = without_a_network(
                            event.unit.traps, why, diagnostics=plan.diagnostics
                        )
                        _settle(event.unit, nothing, pen, tally, progress)
                    tally.failed.append((event.unit.keys["model_id"], why))
                elif event is not None:
                    _settle(event.unit, joined(event.results), pen, tally, progress)


def _task(unit: ProbeUnit, plan: _Plan, memory_bytes: float) -> ProbeTask | ProbeResult | str:
    """The task of a unit; or why there is none, for every row; or why not now, for the end of the run: what
    may be there again tomorrow is no reason that stays."""
    target = target_of(unit)
    need = _COPIES * 4 * unit.num_params + _GIB
    why: str | None = None
    if target.failure is not None:
        failure = target.failure
        if failure.cause == TransientError.cause or failure.error_type in _PASSING:
            return f"{failure.cause}: {failure.message}"
        why = failure.message
    if why is not None:
        return without_a_network(unit.traps, why, diagnostics=plan.diagnostics)
    return ProbeTask(
        target,
        unit.selection,
        unit.options,
        plan.options,
        unit.traps,
        plan.factory,
        int(min(need, memory_bytes)),  # a larger one is read block by block
        plan.diagnostics,
        plan.data,
        limit_bytes=memory_bytes,
    )


def _settle(
    unit: ProbeUnit, result: ProbeResult, pen: Pen, tally: Tally, progress: Progress
) -> None:
    """Commit what the probes of a unit gave."""
    probed = result.probes
    pen.commit([(replace(unit, new_columns=result.model), _editing(probed))])
    tally.num_units += 1
    verdicts = Counter(probe.verdict for probe in probed.values())
    tally.verdicts.update(verdicts)
    tally.reasons.update(p.probe_reason for p in probed.values() if p.probe_reason is not None)
    told = ", ".join(f"{count} {name}" for name, count in sorted(verdicts.items())) or "no trap"
    progress.say(f"{unit.keys['model_id']}@{unit.keys['revision'][:12]}: {told}")


def _editing(probed: Probed) -> Callable[[dict[str, StoredRows]], None]:
    """Writes the probes into the rows of `traps`."""

    def edit(rows: dict[str, StoredRows]) -> None:
        for row in rows["traps"]:
            probe = probed.get((row["layer_index"], row["replicate"], row["trap_index"]))
            if probe is not None:
                row.update(cells(probe))
        for layer in rows["layers"]:
            own = [row for row in rows["traps"] if row["layer_index"] == layer["layer_index"]]
            layer["num_active_traps"] = num_active(own)

    return edit


def num_active(traps: Sequence[Mapping[str, object]]) -> float | None:
    """Active traps of a shuffle, the mean over the shuffles of which one was probed; None: none was."""
    probed = [row for row in traps if row["verdict"] != "unprobed"]
    shuffles = {row["replicate"] for row in probed}
    if not shuffles:
        return None
    return sum(row["verdict"] == "active" for row in probed) / len(shuffles)
