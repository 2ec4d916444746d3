"""Slices of one model, written for several devices, put together. Pure.

Tensor parallelism stores a part of each matrix, pipeline parallelism some of the layers. Slices are
known by the names of their files (`zoo.io.slice_marks`) and put together where the names of the
tensors tell the axis (`zoo.io.slice_axes`) and all widths agree; CheckpointError lists them else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.core_names import is_matrix
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import Piece, TensorMeta
from zoo.io.left_out import AGAIN
from zoo.io.slice_axes import Cut, attention_width, cut_of, hidden_width
from zoo.io.slice_marks import SliceMark, slice_mark
from zoo.io.states import State
from zoo.io.weight_files import is_training_tensor

_LAYER = re.compile(r"(?:^|(?<=\.))(layers|layer|blocks|block|h)\.(\d+)(?=\.)")
"""The number of a layer in the name of a tensor."""
_CHUNK = re.compile(r"model\d+\.")
"""What names start with where each device holds several runs of layers (a virtual pipeline)."""
_CODES = frozenset(("F8_E4M3", "F8_E5M2"))
"""Types that may be cut when a grid of scales is cut along with them."""
_SCALES = ("scale", "weight_scale_inv")
"""Last words of such grids."""
_COPY = f"{AGAIN}copy of a tensor that every slice holds (that of the first is read)"
"""Why what is copied to every device is read once."""
_STATE = "training state: not a weight"
"""Why an optimizer's part of each device is no layer."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """One file, and which slice of the model it says it is."""

    state: State
    mark: SliceMark


def without_slices(states: Sequence[State], sizes: Iterable[int]) -> list[State]:
    """`states`, where slices of one model are one state.

    `sizes` are numbers that the model's configuration names: they tell slices from whole copies.
    CheckpointError for slices that cannot be put together, MissingShardError when one is not there.
    """
    known = frozenset(sizes)
    sets: dict[str, list[_Slice]] = {}
    joined: list[State] = []
    for state in states:
        mark = slice_mark(state.stem)
        if mark is None:
            joined.append(state)
        else:
            sets.setdefault(mark.base, []).append(_Slice(state, mark))
    for base, slices in sets.items():
        if not any(s.mark.is_sure for s in slices) and not _look_sliced(slices):
            joined += [s.state for s in slices]
            continue
        _check_complete(base, slices)
        if len(slices) == 1 and slices[0].mark.layer is None:
            joined.append(slices[0].state)
        else:
            joined.append(_whole(base, slices, known))
    return joined


def _look_sliced(slices: Sequence[_Slice]) -> bool:
    """True when the first slice is there and another one holds tensors of the same names.

    Names such as `shard_1` are given to files of whole tensors too, and `.01` to versions.
    """
    first = next((s for s in slices if s.mark.tensor == s.mark.pipeline == 0), None)
    if first is None:
        return False
    names = first.state.matrices.keys()
    return any(names & other.state.matrices.keys() for other in slices if other is not first)


def _check_complete(base: str, slices: Sequence[_Slice]) -> None:
    """Every slice is there: those that the names count, or all up to the largest number."""
    marks = [s.mark for s in slices]
    names = ", ".join(sorted(s.state.name for s in slices))
    if any(mark.expert for mark in marks):
        raise CheckpointError(
            f"{names} hold the experts of several devices, which count them anew; wanted one "
            "model. Merge them with the program that wrote them"
        )
    counts = [mark.num for mark in marks if mark.num is not None]
    num = max([mark.tensor + 1 for mark in marks] + counts)
    places = {(mark.tensor, mark.pipeline, mark.layer) for mark in marks}
    for pipeline, layer in {(mark.pipeline, mark.layer) for mark in marks}:
        for tensor in range(num):
            if (tensor, pipeline, layer) not in places and layer is None:
                raise MissingShardError(
                    f"slice {tensor} of {num} is not there: {names} hold parts of each tensor "
                    f"({base}); fetch the others, and give the folder that holds all of them"
                )
    stages = {mark.pipeline for mark in marks}
    if stages != set(range(len(stages))):
        raise MissingShardError(f"a stage of the pipeline is not there: {names}; fetch the others")
    if len(places) != len(marks):
        raise CheckpointError(f"{names} are twice the same slice; wanted each once")


def _whole(base: str, slices: Sequence[_Slice], known: frozenset[int]) -> State:
    """The model that the slices make up."""
    names = ", ".join(sorted(s.state.name for s in slices))
    if any(_CHUNK.match(t.name) for s in slices for t in s.state.tensors):
        raise _cannot(names, "their layers take turns (a virtual pipeline)")
    by_layer: dict[tuple[int, int], list[_Slice]] = {}
    for each in sorted(slices, key=lambda s: s.mark.tensor):
        by_layer.setdefault((each.mark.layer or 0, each.mark.pipeline), []).append(each)
    aside: dict[str, str] = {}
    stages: list[tuple[int | None, list[TensorMeta]]] = []
    width = _width_of(slices, names)
    for _, same in sorted(by_layer.items()):
        joined = _Join([s.state for s in same], width, names, aside).tensors()
        stages.append((same[0].mark.layer, joined))
    is_doubtful = any(not s.mark.is_sure for s in slices)
    if not _are_slices(slices, width, known, is_doubtful=is_doubtful):
        raise _cannot(names, "nothing tells slices from whole copies")
    first = min(slices, key=lambda s: (s.mark.layer or 0, s.mark.pipeline, s.mark.tensor)).state
    folder = "/".join(part for part in base.split("/")[:-1] if "*" not in part)
    return State(
        prefix=_prefix(first, folder),
        name=base,
        files=tuple(file for s in slices for file in s.state.files),
        tensors=tuple(_one_pipeline(stages, aside, names)),
        aside=aside,
    )


def _prefix(first: State, folder: str) -> str:
    """The prefix of the joined state: that of its files, without the folder of a slice."""
    inside = folder.replace("/", ".") + "." if folder else ""
    return first.prefix if first.prefix.startswith("@") else inside


def _width_of(slices: Sequence[_Slice], names: str) -> int | None:
    """Width of the hidden state; None where only one device holds each layer."""
    if len({s.mark.tensor for s in slices}) == 1:
        return None
    shapes = {
        f"{s.mark.layer}.{s.mark.pipeline}.{t.name}": t.shape
        for s in slices
        if s.mark.tensor == 0
        for t in s.state.tensors
    }
    width = hidden_width(shapes)
    if width is None:
        raise _cannot(names, "their names do not tell along which axis each tensor is cut")
    return width


def _are_slices(
    slices: Sequence[_Slice], width: int | None, known: frozenset[int], *, is_doubtful: bool
) -> bool:
    """False for whole copies: one device's attention is as wide as the configuration says.

    Where the names leave it open (`is_doubtful`) all devices' together has to be of such a width,
    or of that of the hidden state.
    """
    first = {t.name: t.shape for t in slices[0].state.tensors}
    attention, num = attention_width(first), len({s.mark.tensor for s in slices})
    if num == 1 or width is None:
        return True
    if attention is None:
        return not is_doubtful
    if is_doubtful:
        return num * attention in known | {width} and attention != width
    return attention not in known or num * attention in known


@dataclass(frozen=True, slots=True)
class _Join:
    """The tensors of one stage, put together."""

    states: Sequence[State]
    width: int | None
    names: str
    aside: dict[str, str]
    """Why a tensor of the joined state is no layer; filled here."""

    def tensors(self) -> list[TensorMeta]:
        """In the order of the first slice, with what only others have behind it."""
        by_name: dict[str, list[TensorMeta]] = {}
        for state in self.states:
            for meta in state.tensors:
                by_name.setdefault(meta.name, []).append(meta)
        if self.width is None or len(self.states) == 1:
            return [
                same
                for name, metas in by_name.items()
                for same in (self._apart(metas, _STATE) if is_training_tensor(name) else metas)
            ]
        shapes = {name: metas[0].shape for name, metas in by_name.items()}
        joined: list[TensorMeta] = []
        unknown: list[str] = []
        for name, metas in by_name.items():
            if is_training_tensor(name):
                joined += self._apart(metas, _STATE)
                continue
            if len(metas) == 1:  # an expert that only this device has
                joined.append(metas[0])
                continue
            cut = cut_of(name, shapes, len(self.states), self.width)
            if cut is None or len(metas) != len(self.states) or not _fits(metas, cut, shapes):
                unknown.append(f"{name} {list(metas[0].shape)}")
            elif cut.axis is None:
                joined.append(metas[0])
                joined += self._apart(metas[1:], _COPY)
            else:
                joined.append(_in_one(metas, cut.axis, cut.sections or (0,)))
        if unknown:
            raise _cannot(
                self.names,
                "nothing tells along which axis these are cut: " + ", ".join(unknown[:3])
                + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""),
            )  # fmt: skip
        return joined

    def _apart(self, metas: Sequence[TensorMeta], reason: str) -> list[TensorMeta]:
        """What is no layer, under names of its own."""
        named = [replace(meta, name=f"{_stem(meta.file)}.{meta.name}") for meta in metas]
        self.aside.update((meta.name, reason) for meta in named)
        return named


def _stem(file: str) -> str:
    return file.rpartition(".")[0].replace("/", ".")


def _fits(metas: Sequence[TensorMeta], cut: Cut, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the parts are of one kind, differ along the axis alone, and their types may be cut."""
    first = metas[0]
    others = [tuple(n for i, n in enumerate(t.shape) if i != cut.axis) for t in metas]
    if len(set(others)) > 1 or len({t.dtype for t in metas}) > 1:
        return False
    if cut.sections and (len({t.shape for t in metas}) > 1 or sum(cut.sections) != first.shape[0]):
        return False
    if first.dtype in NATIVE_FLOATS or not is_matrix(first) or cut.axis is None:
        return True
    stem = first.name.rpartition(".")[0]
    scales = [shapes[f"{stem}.{word}"] for word in _SCALES if f"{stem}.{word}" in shapes]
    has_grid = len(scales) == 1 and len(scales[0]) == 2
    return (
        first.dtype in _CODES
        and has_grid
        and not cut.sections
        and first.shape[cut.axis] % scales[0][cut.axis] == 0
    )


def _in_one(metas: Sequence[TensorMeta], axis: int, sections: Sequence[int]) -> TensorMeta:
    """The tensor whose parts are `metas`, section by section."""
    stored = [replace(meta, name=f"{meta.file}:{meta.name}") for meta in metas]
    pieces: list[Piece] = []
    start = 0
    for section in sections:
        for meta in stored:
            pieces.append(Piece(meta, start, section or meta.shape[axis]))
        start += section
    shape = list(metas[0].shape)
    shape[axis] = sum(piece.length for piece in pieces)
    return replace(metas[0], shape=tuple(shape), stride=None, pieces=tuple(pieces), axis=axis)


def _one_pipeline(
    stages: Sequence[tuple[int | None, list[TensorMeta]]], aside: dict[str, str], names: str
) -> list[TensorMeta]:
    """The tensors of all stages, layers numbered through."""
    numbers = [{int(m[2]) for t in metas if (m := _LAYER.search(t.name))} for _, metas in stages]
    is_local = len(stages) > 1 and any(
        a & b for i, a in enumerate(numbers) for b in numbers[i + 1 :]
    )
    by_name: dict[str, TensorMeta] = {}
    offset = 0
    for (layer, metas), inside in zip(stages, numbers, strict=True):
        renamed = {}
        for meta in metas:
            name = meta.name if layer is None else f"layers.{layer}.{meta.name}"
            if layer is None and is_local and (match := _LAYER.search(name)):
                number = int(match[2]) + offset
                name = f"{name[: match.start(2)]}{number}{name[match.end(2) :]}"
            renamed[meta.name] = name
            if name in by_name:  # a table that the first and the last stage share
                if by_name[name].shape != meta.shape:
                    raise _cannot(names, f"two stages hold {name!r} in several shapes")
                name = f"{_stem(meta.file)}.{name}"
                aside[name] = f"{AGAIN}copy of a tensor that several stages hold"
            by_name[name] = replace(meta, name=name)
        for old, reason in [(m.name, aside[m.name]) for m in metas if m.name in aside]:
            del aside[old]
            aside[renamed[old]] = reason
        offset += len(inside) and max(inside) + 1
    return list(by_name.values())


def _cannot(names: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{names} are slices of one model, made for several devices, and {why}; wanted whole "
        "tensors. Merge them with the program that wrote them"
    )
