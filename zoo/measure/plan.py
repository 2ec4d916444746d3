"""Which layers an accelerator measures together, and in which order they are loaded: from headers alone.

A model is cut into *sections* of whole weights in file order; a section is what one worker does in one call, so
cutting a model over workers changes nothing. In a section all matrices of equal shape and type, whatever tensor
or block they come from, fill *batches* in file order. Members and order follow from the model and the memory class
of the card: batched and single solves differ in the last bits, so a layer's batch must not depend on scheduling, on
memory that happens to be left, or on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from zoo.formats.on_device import decodes_on_device
from zoo.formats.weight import Weight
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.header import RowRange
from zoo.layers.spec import LayerSpec
from zoo.measure.pieces import Pieces, pieces_of
from zoo.spectral.batch_sizes import batch_size, device_bytes, is_batched

SECTION_BYTES = 2 << 30
"""Stored bytes of a section: a unit whose weights are larger is split, so that one big model does not serialise the
night."""
MOST_SECTIONS = 64
"""Of one model: each may be another worker's, which reads the header of every shard again."""
_LOAD_BYTES = 512 << 20
"""Bytes of decoded values that are loaded at a time, where a weight can be read by rows: several experts of a stack,
so that a Hub is asked seldom."""
_USABLE = 0.95
"""Share of a card's memory class that a single matrix may need; a larger one is measured on the processor."""

_MOST = 1024
"""Matrices of a batch at most."""
_SMALLEST_GB = 2
"""What a card below all memory classes is taken for."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is read and decoded at a time."""

    weight: Weight
    rows: RowRange | None
    """Rows of the weight; None: all of it."""
    specs: tuple[LayerSpec, ...]
    """The layers that are cut out of it."""

    @property
    def nbytes(self) -> int:
        """Bytes that are read."""
        return self._share(self.weight.nbytes)

    @property
    def num_values(self) -> int:
        """Values that are decoded."""
        return self._share(prod(self.weight.shape))

    @property
    def value_bytes(self) -> int:
        """Bytes of the decoded values."""
        return self.num_values * _itemsize(self.weight)

    def _share(self, whole: int) -> int:
        """What its rows have of `whole`."""
        if self.rows is None:
            return whole
        return whole * (self.rows[1] - self.rows[0]) // self.weight.shape[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """Equal matrices that are measured together."""

    specs: tuple[LayerSpec, ...]
    """In file order."""
    fits: bool
    """False where one of them is too large for the card: they are measured on the processor."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the matrices as they wait on the card."""
        return sum(_held_bytes(spec) for spec in self.specs)

    @property
    def peak_bytes(self) -> int:
        """Most bytes that measuring takes on the card, with as many matrices arriving."""
        first = self.specs[0]
        order, longer = _sides(first)
        assert first.weight is not None
        itemsize = _itemsize(first.weight)
        return device_bytes(len(self.specs) * first.num_slices, order, longer, itemsize=itemsize)


@dataclass(frozen=True, slots=True)
class Section:
    """Some weights of a model: what one worker does in one call."""

    loads: tuple[Load, ...]
    """In file order, each weight whole."""
    batches: tuple[Batch, ...]
    """In the order of their first layers."""
    streamed: tuple[str, ...]
    """Stored tensors that are read to their ends in this order, so that they can be announced."""

    @property
    def weights(self) -> frozenset[str]:
        """Names of its weights."""
        return frozenset(load.weight.name for load in self.loads)

    @property
    def device_bytes(self) -> int:
        """Most bytes that the section takes on the card: matrices that wait for their batch to be full, two batches
        that are full, the largest one being measured, and a load being decoded.
        """
        of_spec = {
            id(spec): number for number, batch in enumerate(self.batches) for spec in batch.specs
        }
        missing = [len(batch.specs) for batch in self.batches]
        waiting = most_waiting = 0
        for load in self.loads:
            for spec in load.specs:
                number = of_spec[id(spec)]
                waiting += _held_bytes(spec) * self.batches[number].fits
                missing[number] -= 1
                most_waiting = max(most_waiting, waiting)
                if missing[number] == 0:
                    waiting -= self.batches[number].held_bytes * self.batches[number].fits
        fitting = [batch for batch in self.batches if batch.fits]
        full = 2 * max((batch.held_bytes for batch in fitting), default=0)
        measured = max((batch.peak_bytes for batch in fitting), default=0)
        decoding = max((_decoding_bytes(load) for load in self.loads), default=0)
        return most_waiting + full + measured + decoding


def plan_of(
    specs: Iterable[LayerSpec], *, memory_gb: int, section_bytes: int = SECTION_BYTES
) -> tuple[Section, ...]:
    """Every measurable layer of a model's `specs` in exactly one batch, for a card of the memory class `memory_gb`.

    Layers of W − W_base are not among them: these are measured one by one.
    """
    pieces = tuple(pieces_of(spec for spec in specs if spec.delta_base is None))
    cuts = sections([piece.nbytes for piece in pieces], section_bytes=section_bytes)
    return tuple(_section(pieces[first:last], memory_gb) for first, last in cuts)


def sections(
    sizes: Sequence[int],
    *,
    section_bytes: int = SECTION_BYTES,
    most_sections: int = MOST_SECTIONS,
) -> Iterator[tuple[int, int]]:
    """Where weights of these sizes are cut into sections: (first, one past the last), about `section_bytes` each,
    at least one weight, about `most_sections` at most."""
    most = max(section_bytes, sum(sizes) // most_sections)
    first, nbytes = 0, 0
    for number, size in enumerate(sizes):
        if number > first and nbytes + size > most:
            yield first, number
            first, nbytes = number, 0
        nbytes += size
    if sizes:
        yield first, len(sizes)


def _section(pieces: Sequence[Pieces], memory_gb: int) -> Section:
    """The section of these weights, its batches halved until all that waits for one fits on the card."""
    loads = tuple(load for piece in pieces for load in _loads(piece))
    streamed = [source for piece in pieces if piece.is_streamed for source in piece.weight.sources]
    usable = _USABLE * max(memory_gb, _SMALLEST_GB) * 1e9
    most = _MOST
    while True:
        section = Section(loads, tuple(_batches(loads, memory_gb, most)), tuple(streamed))
        if most == 1 or section.device_bytes <= usable:
            return section
        most //= 2


def _loads(piece: Pieces) -> Iterator[Load]:
    """What is loaded of a weight at a time: neighbouring experts together, up to `_LOAD_BYTES`."""
    gathered: Load | None = None
    for rows, specs in piece.layers:
        load = Load(piece.weight, rows, specs)
        joined = None if gathered is None else _joined(gathered, load)
        if joined is None and gathered is not None:
            yield gathered
        gathered = joined or load
    if gathered is not None:
        yield gathered


def _joined(one: Load, other: Load) -> Load | None:
    """Two neighbouring loads of a weight as one; None where they are none, or too large."""
    if one.rows is None or other.rows is None or one.rows[1] != other.rows[0]:
        return None
    joined = Load(one.weight, (one.rows[0], other.rows[1]), one.specs + other.specs)
    return joined if joined.value_bytes <= _LOAD_BYTES else None


def _batches(loads: Sequence[Load], memory_gb: int, most: int) -> Iterator[Batch]:
    """The batches of a section, in the order of their first layers."""
    place = {id(spec): number for number, spec in enumerate(s for ld in loads for s in ld.specs)}
    kinds: dict[tuple[object, ...], list[LayerSpec]] = {}
    for load in loads:
        for spec in load.specs:
            kinds.setdefault(_kind(spec), []).append(spec)
    batches = [batch for equal in kinds.values() for batch in _cut(equal, memory_gb, most)]
    yield from sorted(batches, key=lambda batch: place[id(batch.specs[0])])


def _cut(equal: Sequence[LayerSpec], memory_gb: int, most: int) -> Iterator[Batch]:
    """Equal layers in batches; what is left over goes one by one where that is faster."""
    order, longer = _sides(equal[0])
    slices = equal[0].num_slices
    size = max(1, min(batch_size(order, memory_gb, longer=longer), most) // slices)
    for start in range(0, len(equal), size):
        together = tuple(equal[start : start + size])
        step = len(together) if is_batched(len(together) * slices, max(order, 1)) else 1
        for first in range(0, len(together), step):
            batch = Batch(together[first : first + step], fits=True)
            fits = batch.peak_bytes <= _USABLE * max(memory_gb, _SMALLEST_GB) * 1e9
            yield batch if fits else Batch(batch.specs, fits=False)


def _kind(spec: LayerSpec) -> tuple[object, ...]:
    """What layers of one batch have in common."""
    weight = spec.weight
    assert weight is not None
    values = weight.stored_dtype if weight.decoder == "none" else "F32"
    return spec.rows, spec.cols, spec.num_slices, values, weight.storage_bits


def _sides(spec: LayerSpec) -> tuple[int, int]:
    """The smaller side and the longer one."""
    rows, cols = spec.rows or 0, spec.cols or 0
    return min(rows, cols), max(rows, cols)


def _itemsize(weight: Weight) -> int:
    """Bytes of a decoded value."""
    return max(DTYPE_BITS[weight.stored_dtype] // 8, 1) if weight.decoder == "none" else 4


def _held_bytes(spec: LayerSpec) -> int:
    assert spec.weight is not None
    rows, cols = spec.rows or 0, spec.cols or 0
    return spec.num_slices * rows * cols * _itemsize(spec.weight)


def _decoding_bytes(load: Load) -> int:
    """Most bytes on the card while a load is decoded: as stored, its codes one a byte and twice as words, the values,
    and these again where a layer is cut out. Of a format that the processor decodes, the values alone.
    """
    if load.weight.decoder == "none" or not decodes_on_device(load.weight):
        return 2 * load.value_bytes
    return load.nbytes + 3 * load.value_bytes
