"""Headers only: what a unit would cost, what it cannot read, and how to cut it into tasks.

Reads headers, never a tensor. Costs are estimates; peak memory is an upper bound by the guarantee of three
times the largest float32 matrix plus 1 GiB.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobs.sources.target import Failure, failure_of
from jobs.units.bytes import ByteRow, byte_rows
from jobs.units.cost import layer_seconds
from jobs.units.unit import GIB, Task, Unit
from zoo.errors import TransientError, ZooError
from zoo.io.left_out import LeftOut
from zoo.measure.plan import MOST_SECTIONS, SECTION_BYTES, sections
from zoo.options import AnalysisOptions

if TYPE_CHECKING:
    from zoo.layers.spec import LayerSpec
    from zoo.measure.pieces import Pieces

TASK_BYTES = SECTION_BYTES
"""A unit whose weights are larger is split: a task is a section of `zoo.measure.plan`, so that splitting changes
no number on an accelerator either."""
MAX_TASKS = MOST_SECTIONS
"""Of one unit: each of them reads the header of every shard again, and the Hub counts requests."""
PLAN_ABOVE_BYTES = GIB
"""Units larger than this, or of unknown size, have their headers read before work starts, to be split."""
_HEADER_THREADS = 8
_BYTES_A_SECOND = 15e6
"""What one core measures of a small model whose headers were not read, about: the demo's encoder."""


@dataclass(frozen=True, slots=True)
class WeightCost:
    """What one weight asks of a worker."""

    name: str
    nbytes: int
    peak_bytes: int
    """Most memory that its worker takes: see `zoo.measure.memory.peak_bytes`."""
    seconds: float
    num_layers: int


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """What `zoo plan` prints of a unit."""

    unit: Unit
    weights: tuple[WeightCost, ...]
    num_layers: int
    num_deltas: int
    """Of these, layers of W − W_base."""
    num_skipped: int
    num_failed: int
    fates: dict[str, int]
    """Stored tensors by fate."""
    reasons: dict[str, int]
    """Skipped and unknown tensors by reason (up to its first colon)."""
    account: tuple[ByteRow, ...]
    """What every byte of the unit's files is for."""
    left_out: tuple[LeftOut, ...]
    """Files that could hold weights and are not read."""
    num_params: int
    requests: int
    """Requests spent on planning."""

    @property
    def num_measurable(self) -> int:
        """Layers that are neither skipped nor failed."""
        return self.num_layers - self.num_skipped - self.num_failed

    @property
    def largest(self) -> WeightCost | None:
        """The weight that takes the most memory; None when there is none."""
        return max(self.weights, key=lambda weight: weight.peak_bytes, default=None)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that will be read."""
        return sum(w.nbytes for w in self.weights)

    @property
    def seconds(self) -> float:
        """Estimated seconds of one worker on the machine of `jobs.units.cost`."""
        return sum(w.seconds for w in self.weights)


def plan_units(
    units: Sequence[Unit], *, headers: int
) -> Iterator[tuple[Unit, UnitPlan | Failure | None]]:
    """The plan of each unit in order; why not; or None beyond the first `headers` units.

    Headers are read by a few threads, as most of the time goes into waiting for a Hub.
    """
    with ThreadPoolExecutor(_HEADER_THREADS) as pool:
        yield from zip(units, pool.map(_try_plan, units[:headers]), strict=False)
    for unit in units[headers:]:
        yield unit, unit.target.failure


def _try_plan(unit: Unit) -> UnitPlan | Failure:
    if unit.target.failure is not None:
        return unit.target.failure
    try:
        return plan_unit(unit)
    except ZooError as error:
        return failure_of(error)


def plan_unit(unit: Unit) -> UnitPlan:
    """Open the headers of a unit. Raises CheckpointError or SourceError when they cannot be read."""
    from zoo.measure.model import open_model
    from zoo.measure.pieces import pieces_of

    with unit.target.reading() as store:
        model = open_model(store, unit.selection)
        requests = store.counters.requests
    return UnitPlan(
        unit=unit,
        weights=tuple(_cost(piece, unit.options) for piece in pieces_of(model.specs)),
        num_layers=len(model.specs),
        num_deltas=sum(s.delta_base is not None for s in model.specs),
        num_skipped=sum(s.skip_reason is not None for s in model.specs),
        num_failed=sum(s.fail_reason is not None for s in model.specs),
        fates=dict(Counter(e.fate for e in model.entries)),
        reasons=dict(
            Counter(
                (e.reason or "").split(":")[0]
                for e in model.entries
                if e.fate in ("skipped", "unknown")
            )
        ),
        account=byte_rows(model.accounts, model.left_out, model.files),
        left_out=model.left_out,
        num_params=model.num_params,
        requests=requests,
    )


def _cost(pieces: Pieces, options: AnalysisOptions) -> WeightCost:
    from zoo.measure.memory import peak_bytes

    specs = [spec for _, of_piece in pieces.layers for spec in of_piece]
    return WeightCost(
        name=pieces.weight.name,
        nbytes=pieces.nbytes,
        peak_bytes=peak_bytes(pieces.numel),
        seconds=sum(
            layer_seconds(*_sides(spec), num_slices=spec.num_slices, options=options)
            for spec in specs
        ),
        num_layers=len(specs),
    )


def _sides(spec: LayerSpec) -> tuple[int, int]:
    rows, cols = spec.rows or 0, spec.cols or 0
    return max(rows, cols), min(rows, cols)


def tasks_of(plan: UnitPlan, *, device: str) -> tuple[Task, ...]:
    """Cut a unit into tasks of about TASK_BYTES, whole weights each: at least one, about MAX_TASKS at most."""
    sizes = [weight.nbytes for weight in plan.weights]
    cuts = sections(sizes, section_bytes=TASK_BYTES, most_sections=MAX_TASKS)
    groups = [plan.weights[first:last] for first, last in cuts]
    if len(groups) <= 1:
        peak = max((w.peak_bytes for w in plan.weights), default=GIB)
        return (
            Task(
                plan.unit,
                nbytes=plan.nbytes,
                peak_bytes=peak,
                cost_s=plan.seconds,
                device=device,
            ),
        )
    return tuple(
        Task(
            plan.unit,
            group=number,
            num_groups=len(groups),
            weights=tuple(w.name for w in group),
            nbytes=sum(w.nbytes for w in group),
            peak_bytes=max(w.peak_bytes for w in group),
            cost_s=sum(w.seconds for w in group),
            device=device,
        )
        for number, group in enumerate(groups)
    )


class TaskFeed:
    """Units in, their tasks out, in the order they become known.

    Headers are read in the background: a Hub that stalls must not keep finished work from being committed.
    """

    def __init__(self, units: Iterable[Unit], *, device: str, gpu_share: float = 1.0) -> None:
        """`gpu_share`: the part of an accelerator that a worker has."""
        self._units = deque(units)
        self._device = device
        self._reading: list[_Planning] = []
        self._known: deque[_Planning] = deque()
        self._gpu_share = gpu_share

    def add(self, unit: Unit) -> None:
        """One unit more, after the others."""
        self._units.append(unit)

    @property
    def is_exhausted(self) -> bool:
        """True when every unit has come out."""
        return not self.num_waiting

    @property
    def num_waiting(self) -> int:
        """Units that have not come out."""
        return len(self._units) + len(self._reading) + len(self._known)

    def take(self, room: int) -> Iterator[tuple[Unit, tuple[Task, ...] | ZooError]]:
        """At most `room` units whose tasks are known by now, or why they cannot be."""
        while (
            self._units
            and len(self._reading) + len(self._known) < room
            and len(self._reading) < _HEADER_THREADS
        ):
            planning = _Planning.start(self._units.popleft(), self._device)
            (self._reading if planning.result is None else self._known).append(planning)
        for planning in [planning for planning in self._reading if planning.result is not None]:
            self._reading.remove(planning)
            self._known.append(planning)
        for _ in range(min(room, len(self._known))):
            planning = self._known.popleft()
            assert planning.result is not None
            result = planning.result
            if isinstance(result, tuple) and self._gpu_share != 1.0:
                result = tuple(replace(task, gpu_share=self._gpu_share) for task in result)
            yield planning.unit, result


@dataclass(slots=True, eq=False)
class _Planning:
    """A unit on its way to tasks."""

    unit: Unit
    result: tuple[Task, ...] | ZooError | None = field(default=None)

    @classmethod
    def start(cls, unit: Unit, device: str) -> _Planning:
        nbytes = unit.target.nbytes
        if 0 < nbytes <= PLAN_ABOVE_BYTES:
            # float32 of bf16 is twice the file; a single tensor may be all of it
            peak = GIB + min(6 * nbytes, 4 * GIB)
            cost_s = nbytes / _BYTES_A_SECOND
            task = Task(unit, nbytes=nbytes, peak_bytes=peak, cost_s=cost_s, device=device)
            return cls(unit, (task,))
        planned = cls(unit)
        # a daemon: one that waits for a Hub must not keep an interrupted sweep from ending
        threading.Thread(target=planned._plan, args=(device,), name="zoo-plan", daemon=True).start()
        return planned

    def _plan(self, device: str) -> None:
        # what is not known here the worker finds out, and its retry policy deals with it
        result: tuple[Task, ...] | ZooError
        result = (Task(self.unit, nbytes=self.unit.target.nbytes, device=device),)
        try:
            result = tasks_of(plan_unit(self.unit), device=device)
        except ZooError as error:
            if not isinstance(error, TransientError):
                result = error
        finally:
            self.result = result
