"""The layers of a model on an accelerator that never waits: one thread reads and decodes, one computes, and the
caller's thread finishes on the processor; a bounded queue lies between each.

Which layers are measured together is the plan's to say (`zoo.measure.plan`); what one batch does when memory
runs out is `zoo.measure.batch`. Decoding shares the reader's thread: of packed weights it is a few launches on a
stream of its own. With device "cpu" the same threads give the values of the plain path, which the tests hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from queue import Empty, Full, Queue
from typing import TypeVar

import torch

from zoo.errors import DecodeError
from zoo.io.checkpoint import Checkpoint
from zoo.layers.spec import LayerSpec
from zoo.machine.device import naming_lost_device
from zoo.measure.batch import measure_layers
from zoo.measure.layer import LayerMeasures, failed_layer
from zoo.measure.memory import naming_shortage
from zoo.measure.plan import Batch, Section, plan_of
from zoo.measure.reports import LayerReport, report_of, shape_of
from zoo.measure.transfer import Transfer, hand_over
from zoo.options import AnalysisOptions

_FULL_BATCHES = 1
"""Batches that wait beside the one that is computed and the one that the reader holds."""
_BEGUN_BATCHES = 4
"""Batches that wait to be finished."""
_TOO_LARGE = "on_cpu: too large for the memory of the accelerator"
"""Reason of a layer that the plan gives to the processor."""
_TICK_S = 0.05
"""How often a thread that waits for its neighbour looks whether all is over."""

ItemT = TypeVar("ItemT")


@dataclass(slots=True)
class StageTimes:
    """Seconds that the stages of a pipeline spent, all together; for benchmarks."""

    load_s: float = 0.0
    """Reading, moving and decoding."""
    compute_s: float = 0.0
    """Measuring batches on the accelerator."""
    finish_s: float = 0.0
    """Finishing them on the processor: fits, and waiting for these."""
    starved_s: float = 0.0
    """Waiting for a batch to be full, after the first one."""
    first_s: float | None = None
    """`time.perf_counter()` when the first batch began,"""
    last_s: float | None = None
    """and when the accelerator was through with the last one."""
    batches: list[tuple[int, int, int, float]] = field(default_factory=list)
    """(rows, cols, matrices, seconds) of each batch."""


@dataclass(frozen=True, slots=True)
class _Full:
    """A batch whose matrices are all there."""

    section: int
    batch: Batch
    held: list[torch.Tensor]
    reads: tuple[tuple[float, int], ...]
    """Seconds and bytes of reading, one a layer."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """Layers of a section that the accelerator is through with."""

    section: int
    specs: Sequence[LayerSpec]
    measures: Iterator[LayerMeasures]
    """In the order of the layers; what is left to do is done where they are taken."""
    reads: Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class _Broken:
    """What ended a stage."""

    error: BaseException


@dataclass(slots=True)
class _Filling:
    """A batch whose matrices are coming."""

    batch: Batch
    specs: list[LayerSpec] = field(default_factory=list)
    """Of the matrices that are there."""
    held: list[torch.Tensor] = field(default_factory=list)
    reads: list[tuple[float, int]] = field(default_factory=list)
    num_failed: int = 0
    """Members that could not be decoded: the others are measured without them."""

    def add(self, spec: LayerSpec, matrices: torch.Tensor | None, read: tuple[float, int]) -> None:
        """The next member; None for one that could not be decoded."""
        if matrices is None:
            self.num_failed += 1
            return
        self.specs.append(spec)
        self.held.append(matrices)
        self.reads.append(read)

    @property
    def is_full(self) -> bool:
        """True when nothing more is to come."""
        return len(self.specs) + self.num_failed == len(self.batch.specs)

    def taken(self, section: int) -> _Full:
        """The batch, which is left empty here."""
        held, self.held = self.held, []
        batch = Batch(tuple(self.specs), fits=self.batch.fits)
        return _Full(section, batch, held, tuple(self.reads))


class _End:
    """The last item of a queue."""


_END = _End()


class _Stopped(Exception):
    """The pipeline is being closed: the thread ends."""


def measure_in_batches(
    specs: Sequence[LayerSpec],
    checkpoint: Checkpoint,
    options: AnalysisOptions,
    *,
    device: torch.device,
    memory_gb: int,
    weights: Collection[str] | None = None,
    times: StageTimes | None = None,
) -> Iterator[LayerReport]:
    """Measure the measurable layers of `specs`, section by section, each in file order.

    `memory_gb`: the memory class of the card. `weights`: names of those that are measured, whole sections of
    them (others are put into sections anew); None: all. Raises what reading a file raises, and DeviceLostError.
    """
    sections = _wanted(specs, memory_gb, weights)
    checkpoint.expect(source for section in sections for source in section.streamed)
    pipeline = _Pipeline(sections, checkpoint, options, device, times or StageTimes())
    try:
        yield from pipeline.reports()
    finally:
        pipeline.close()


def _wanted(
    specs: Sequence[LayerSpec], memory_gb: int, weights: Collection[str] | None
) -> list[Section]:
    """The sections of `weights`."""
    sections = plan_of(specs, memory_gb=memory_gb)
    if weights is None:
        return list(sections)
    names = frozenset(weights)
    whole = [section for section in sections if section.weights <= names]
    rest = names.difference(*(section.weights for section in whole))
    others = [spec for spec in specs if spec.weight is not None and spec.weight.name in rest]
    return [*whole, *plan_of(others, memory_gb=memory_gb)]


class _Pipeline:
    """Two threads and the queues between them."""

    def __init__(
        self,
        sections: Sequence[Section],
        checkpoint: Checkpoint,
        options: AnalysisOptions,
        device: torch.device,
        times: StageTimes,
    ) -> None:
        self._sections = sections
        self._checkpoint = checkpoint
        self._options = options
        self._device = device
        self._times = times
        self._over = threading.Event()
        self._full: Queue[_Full | _Broken | _End] = Queue(_FULL_BATCHES)
        self._begun: Queue[_Begun | _Broken | _End] = Queue(_BEGUN_BATCHES)
        self._threads = [
            threading.Thread(target=self._run, args=(work, out), name=name, daemon=True)
            for name, work, out in (
                ("zoo-load", self._load, self._full),
                ("zoo-compute", self._compute, self._begun),
            )
        ]
        for thread in self._threads:
            thread.start()

    def reports(self) -> Iterator[LayerReport]:
        """The reports of each section in file order, as soon as it is through."""
        missing = [sum(len(load.specs) for load in section.loads) for section in self._sections]
        reports: list[list[LayerReport]] = [[] for _ in self._sections]
        while True:
            item = self._take(self._begun)
            if isinstance(item, _End):
                return
            if isinstance(item, _Broken):
                raise item.error
            started = time.perf_counter()
            done = _reports(item.specs, item.measures, item.reads)
            self._times.finish_s += time.perf_counter() - started
            reports[item.section] += done
            missing[item.section] -= len(done)
            if missing[item.section] == 0:
                whole, reports[item.section] = reports[item.section], []
                yield from sorted(whole, key=lambda report: report.row.name.layer_index)

    def close(self) -> None:
        """End the threads, each after what it is doing now."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None], out: Queue[ItemT | _Broken | _End]) -> None:
        """Body of a thread. What goes wrong travels on, and is raised where the reports are taken."""
        here = torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
        try:
            with here, naming_lost_device():
                work()
            self._put(out, _END)
        except _Stopped:
            return
        except BaseException as error:  # not swallowed: `reports` raises it
            try:
                self._put(out, _Broken(error))
            except _Stopped:
                return

    def _load(self) -> None:
        """First stage: the loads in file order; a batch goes on as soon as its last matrix is there."""
        transfer = Transfer(self._checkpoint, self._device)
        for number, section in enumerate(self._sections):
            self._load_section(number, section, transfer)

    def _load_section(self, number: int, section: Section, transfer: Transfer) -> None:
        batch_of = {
            id(spec): at for at, batch in enumerate(section.batches) for spec in batch.specs
        }
        filling = [_Filling(batch) for batch in section.batches]
        for load in section.loads:
            started = time.perf_counter()
            fits = tuple(section.batches[batch_of[id(spec)]].fits for spec in load.specs)
            cut: list[torch.Tensor] | None = None
            try:
                with naming_shortage(load.weight, load.num_values):
                    cut = transfer.matrices(load, fits=fits)
            except DecodeError as error:
                reason = f"undecodable: {error}"
                failed = [failed_layer(shape_of(spec), reason) for spec in load.specs]
                none_read = ((0.0, 0),) * len(failed)
                self._put(self._begun, _Begun(number, load.specs, iter(failed), none_read))
            seconds = time.perf_counter() - started
            self._times.load_s += seconds
            read = (seconds / len(load.specs), load.nbytes // len(load.specs))
            for index, spec in enumerate(load.specs):
                batch = filling[batch_of[id(spec)]]
                batch.add(spec, None if cut is None else cut[index], read)
                if batch.is_full and batch.held:
                    self._put(self._full, batch.taken(number))
            del cut

    def _compute(self) -> None:
        """Second stage: one batch after the other."""
        waiting_since: float | None = None
        while not isinstance(item := self._take(self._full), _End):
            if isinstance(item, _Broken):
                raise item.error
            started = time.perf_counter()
            if waiting_since is None:
                self._times.first_s = started
            else:
                self._times.starved_s += started - waiting_since
            hand_over(item.held)
            specs = item.batch.specs
            measures = _begin(item.batch, item.held, self._options)
            item.held.clear()
            waiting_since = self._times.last_s = time.perf_counter()
            self._times.compute_s += waiting_since - started
            shape = (specs[0].rows or 0, specs[0].cols or 0, len(specs))
            self._times.batches.append((*shape, waiting_since - started))
            self._put(self._begun, _Begun(item.section, specs, measures, item.reads))
            del measures

    def _take(self, queue: Queue[ItemT]) -> ItemT:
        while not self._over.is_set():
            try:
                return queue.get(timeout=_TICK_S)
            except Empty:
                continue
        raise _Stopped

    def _put(self, queue: Queue[ItemT], item: ItemT) -> None:
        while not self._over.is_set():
            try:
                return queue.put(item, timeout=_TICK_S)
            except Full:
                continue
        raise _Stopped


def _begin(
    batch: Batch, held: Sequence[torch.Tensor], options: AnalysisOptions
) -> Iterator[LayerMeasures]:
    """The layers of a batch, whose matrices are `held`, `[num_slices, rows, cols]` each."""
    weight = batch.specs[0].weight
    assert weight is not None
    bits, keys = weight.storage_bits, [spec.seed_key for spec in batch.specs]
    if not batch.fits:
        measures = _begin(replace(batch, fits=True), held, replace(options, device="cpu"))
        return (_noted(one, _TOO_LARGE) for one in measures)
    return measure_layers(list(held), options=options, seed_keys=keys, storage_bits=bits)


def _noted(measures: LayerMeasures, note: str) -> LayerMeasures:
    """The layer with `note` behind its reason."""
    measured = measures.measured
    reason = "; ".join(filter(None, (measured.outcome.reason, note)))
    outcome = replace(measured.outcome, reason=reason)
    return replace(measures, measured=replace(measured, outcome=outcome))


def _reports(
    specs: Sequence[LayerSpec],
    measured: Iterable[LayerMeasures],
    reads: Sequence[tuple[float, int]],
) -> list[LayerReport]:
    return [
        report_of(spec, measures, *read)
        for spec, measures, read in zip(specs, measured, reads, strict=True)
    ]
