"""Checkpoints of nanotron: one tensor a file, called `data`; its name is the path. Pure.

`model/decoder/0/attn/qkv_proj/model_weight_pp-rank-0-of-1_tp-rank-1-of-2.safetensors` is a slice of
`decoder.0.attn.qkv_proj.weight`; its header says which part of the whole tensor it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.header import Piece, TensorMeta
from zoo.io.states import State

_FILE = re.compile(
    r"(?P<folder>.*/)model_(?P<leaf>\w+?)(?:_pp-rank-\d+-of-\d+_tp-rank-\d+-of-\d+)?"
    r"(?P<expert>_exp-rank-\d+-of-\d+)?\.safetensors$"
)
"""The path of a tensor."""
_NAMES = frozenset(("data", "_no_weight_decay"))
"""What a file holds: the tensor, and perhaps a mark for the optimizer."""
_PAIRS, _SHAPE = "local_global_slices_pairs", "unsharded_shape"
"""Keys of the header that tell which part of which shape a slice is."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows or columns of a stored slice, and where they belong."""

    meta: TensorMeta
    axis: int
    start: int
    length: int
    at: int


def is_slice_file(name: str) -> bool:
    """True for a name that nanotron gives to a slice of a tensor."""
    return _FILE.match(name) is not None and "_tp-rank-" in name


def is_tensor_file(state: State) -> bool:
    """True for a file of nanotron's: one tensor called `data`, and its name in the path."""
    names = {meta.name for meta in state.tensors}
    return _FILE.match(state.name) is not None and "data" in names and names <= _NAMES


def from_nanotron(
    read: Iterable[tuple[State, Mapping[str, str]]],
) -> list[State]:
    """One state a checkpoint, of states that are `is_tensor_file`, given with their headers.

    CheckpointError for slices whose headers do not tell where they belong.
    """
    slices: dict[str, dict[str, list[tuple[TensorMeta, Mapping[str, str]]]]] = {}
    files: dict[str, list[str]] = {}
    for state, header in read:
        match = _FILE.match(state.name)
        data = next(t for t in state.tensors if t.name == "data")
        assert match is not None
        root, inside = _root_of(match["folder"])
        name = f"{inside.replace('/', '.')}{match['leaf']}"
        slices.setdefault(root, {}).setdefault(name, []).append((data, header))
        files.setdefault(root, []).append(state.name)
    return [
        State(
            root.replace("/", "."),
            root.rstrip("/") or "model",
            tuple(files[root]),
            tuple(_whole(name, parts) for name, parts in by_name.items()),
        )
        for root, by_name in slices.items()
    ]


def _root_of(folder: str) -> tuple[str, str]:
    """(folder of the checkpoint, the rest): `100/model/model/decoder/` is `100/` and its rest."""
    parts = folder.split("/")
    at = parts.index("model") if "model" in parts else 0
    inside = parts[at + 1 :] if "model" in parts else parts
    return "".join(f"{part}/" for part in parts[:at]), "/".join(inside)


def _whole(name: str, slices: list[tuple[TensorMeta, Mapping[str, str]]]) -> TensorMeta:
    """The tensor that the slices make up; the only one where it is stored whole."""
    first, header = slices[0]
    if _PAIRS not in header and len(slices) == 1:
        return replace(first, name=name)
    shape = tuple(int(n) for n in re.findall(r"\d+(?=[,)]|$)", header.get(_SHAPE, "")))
    parts = [part for meta, told in slices for part in _parts(meta, told.get(_PAIRS, ""), shape)]
    axes = {part.axis for part in parts}
    shapes = {told.get(_SHAPE) for _, told in slices}
    if not shape or len(axes) != 1 or len(shapes) != 1:
        raise CheckpointError(
            f"{', '.join(meta.file for meta, _ in slices)} are slices of one tensor, and their headers "
            "do not tell where each belongs; wanted nanotron's local_global_slices_pairs"
        )
    axis = axes.pop()
    reached = 0
    for part in sorted(parts, key=lambda p: p.at):
        if part.at != reached:
            raise MissingShardError(
                f"rows or columns {reached} to {part.at} of {name!r} are not there: "
                f"{', '.join(meta.file for meta, _ in slices)} hold the others; fetch all slices"
            )
        reached += part.length
    if reached != shape[axis]:
        raise MissingShardError(
            f"{name!r} has {reached} of {shape[axis]} rows or columns; fetch all of its slices"
        )
    ordered = sorted(parts, key=lambda p: p.at)
    pieces = tuple(Piece(part.meta, part.start, part.length) for part in ordered)
    return replace(first, name=name, shape=shape, pieces=pieces, axis=axis)


def _parts(meta: TensorMeta, pairs: str, shape: tuple[int, ...]) -> Iterable[_Part]:
    """What the header of one slice says: `0,32,None|None,None,None#32,64,None|None,None,None;...`."""
    stored = replace(meta, name=f"{meta.file}:{meta.name}")
    for pair in filter(None, pairs.split(";")):
        local, _, whole = pair.partition("#")
        ours, theirs = _ranges(local, meta.shape), _ranges(whole, shape)
        if ours is None or theirs is None or len(ours) != len(theirs):
            return
        cut = [i for i, (a, b) in enumerate(theirs) if (a, b) != (0, shape[i])]
        axis = cut[0] if cut else 0
        if len(cut) > 1 or any(b - a != d - c for (a, b), (c, d) in zip(ours, theirs, strict=True)):
            return
        if any(
            r != (0, n) for i, (r, n) in enumerate(zip(ours, meta.shape, strict=True)) if i != axis
        ):
            return
        (start, stop), (at, _) = ours[axis], theirs[axis]
        yield _Part(stored, axis, start, stop - start, at)


def _ranges(text: str, shape: tuple[int, ...]) -> list[tuple[int, int]] | None:
    """First and end along each axis; None for what is no plain range within `shape`."""
    ranges: list[tuple[int, int]] = []
    for axis, part in enumerate(text.split("|")):
        numbers = part.split(",")
        if axis >= len(shape) or len(numbers) != 3 or numbers[2] not in ("None", "1"):
            return None
        if not all(number == "None" or number.isdigit() for number in numbers[:2]):
            return None
        first = 0 if numbers[0] == "None" else int(numbers[0])
        end = shape[axis] if numbers[1] == "None" else min(int(numbers[1]), shape[axis])
        if first >= end:
            return None
        ranges.append((first, end))
    rest = [(0, size) for size in shape[len(ranges) :]]
    return ranges + rest
