"""One model, not several states of it: copies of the same tensors in other files or folders. Pure.

The same tensors may lie in several files (two precisions, an epoch a file) or in several folders (a
trainer's `checkpoint-500`). They are never layers of one model: one state is read, the others are
left out with the reason, and where nothing says which one is meant, CheckpointError lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from zoo.errors import CheckpointError
from zoo.io.core_names import matrices_by_core
from zoo.io.dtypes import DTYPE_BITS, NATIVE_FLOATS
from zoo.io.header import TensorMeta
from zoo.io.slice_marks import slice_mark
from zoo.io.state_labels import WORDS, StateLabel, state_label
from zoo.io.weight_files import WEIGHT_SUFFIXES

_MIN_SHARED = 0.5
"""States share at least this part of the smaller one's matrices."""
_FLOATS = NATIVE_FLOATS | {"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
"""Types of safetensors that hold one number of the weight each."""
_SAME_WIDTH = ("F32", "BF16", "F16", "F8_E4M3", "F8_E5M2")
"""Of types of equal width the preferred one first."""
_MAX_LISTED = 50
"""Names of states in one message."""


@dataclass(frozen=True)
class State:
    """What the files read together hold: one file, the shards of one, or a folder."""

    prefix: str
    """What the names of its tensors get in the checkpoint: `` or `unet.`."""
    name: str
    """Its file (of shards the first) or folder, for people."""
    files: tuple[str, ...]
    """All its files."""
    tensors: tuple[TensorMeta, ...]
    """Under their names in the files."""
    aside: Mapping[str, str] = field(default_factory=dict)
    """Why a tensor is no layer although it might be one, by its name."""

    @cached_property
    def matrices(self) -> dict[str, TensorMeta]:
        """What may be a weight, by the name that all states of the model share."""
        return matrices_by_core({t.name: t for t in self.tensors if t.name not in self.aside})

    @cached_property
    def stem(self) -> str:
        """Its name without the ending of a file."""
        return self.name.removesuffix(_ending(self.name))

    def is_again(self, cores: Collection[str]) -> bool:
        """True when it holds the model whose matrices are called `cores`, or most of it."""
        ours = self.matrices.keys()
        shared = sum(core in cores for core in ours)
        return shared > 0 and shared >= _MIN_SHARED * min(len(ours), len(cores))

    @cached_property
    def label(self) -> StateLabel:
        """What its name says."""
        return state_label(self.stem)

    @cached_property
    def bits(self) -> float:
        """Stored bits a number, over all matrices; what is packed counts as one bit."""
        metas = self.matrices.values()
        bits = sum(8 * t.nbytes if _has_own_shape(t) else t.numel for t in metas)
        return bits / max(1, sum(t.numel for t in metas))


def _ending(name: str) -> str:
    return next((suffix for suffix in WEIGHT_SUFFIXES if name.endswith(suffix)), "")


def one_state(
    states: Sequence[State], *, are_parts: bool
) -> tuple[list[State], list[tuple[State, str]]]:
    """(the states that are read, those that are not, with the reason).

    States of one folder are compared, then the folders: with `are_parts` folders are declared parts
    of one model, whatever their tensors are called. CheckpointError where nothing says which of
    several states is meant.
    """
    aside: list[tuple[State, str]] = []
    kept: list[State] = []
    for prefix in dict.fromkeys(state.prefix for state in states):
        kept += _settled([s for s in states if s.prefix == prefix], aside)
    if not are_parts and len({state.prefix for state in kept}) > 1:
        folders = [_folder([s for s in kept if s.prefix == prefix])
                   for prefix in dict.fromkeys(s.prefix for s in kept)]  # fmt: skip
        read = {folder.prefix for folder in _settled(folders, aside)}
        kept = [state for state in kept if state.prefix in read]
    return kept, aside


def _folder(states: Sequence[State]) -> State:
    """All that is read of one folder."""
    first, mark, _ = states[0].name.partition("*")  # the folders of slices have a `*` there
    place = first if mark else states[0].files[0].rpartition("/")[0]
    name = place.rstrip("/") or states[0].name
    files = tuple(file for state in states for file in state.files)
    return State(states[0].prefix, name, files, tuple(t for s in states for t in s.tensors))


def _settled(states: Sequence[State], aside: list[tuple[State, str]]) -> list[State]:
    """One of each group of `states` that hold the same model; the others go to `aside`."""
    kept: list[State] = []
    for group in _alike(states):
        best = _preferred(group)
        kept.append(best)
        aside += [(state, _reason(state, best)) for state in group if state is not best]
    return kept


def _alike(states: Sequence[State]) -> list[list[State]]:
    """The states in groups that hold the same matrices."""
    if len(states) < 2:  # nothing to compare
        return [[state] for state in states]
    groups: list[list[State]] = []
    for state in states:
        same = next((group for group in groups if state.is_again(group[0].matrices)), None)
        if same is None:
            groups.append([state])
        else:
            same.append(state)
    return groups


def _listed(group: Sequence[State]) -> str:
    """The names of the states, of many the first."""
    names = sorted(state.name for state in group)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _preferred(group: Sequence[State]) -> State:
    """The state that is read. CheckpointError where nothing says which one is meant."""
    if len(group) == 1:
        return group[0]
    told = _listed(group)
    if any(slice_mark(state.stem) for state in group):
        raise CheckpointError(
            f"{told} hold tensors of the same names: slices of one model, made for several devices; "
            "wanted whole tensors. Merge them with the program that wrote them"
        )
    core = _differs(group)
    if core is not None:
        metas = [state.matrices[core] for state in group if core in state.matrices]
        shapes = " and ".join(sorted({str(list(meta.shape)) for meta in metas}))
        raise CheckpointError(
            f"{told} hold tensors of the same names and other shapes, such as "
            f"{_name_of(core, group)!r} ({shapes}): several models, or slices of one for several "
            "devices; wanted one model, whole. Name the one to use; a glob over them makes each a model"
        )
    ranks = {state.name: _rank(state, group) for state in group}
    best = max(group, key=lambda state: ranks[state.name])
    is_clear = len({(s.label.rest, s.label.alternatives) for s in group}) == 1
    if not is_clear or list(ranks.values()).count(ranks[best.name]) > 1:
        raise CheckpointError(
            f"{told} hold the same tensors, such as {_name_of(next(iter(best.matrices)), group)!r}, "
            "and nothing says which of them is meant; wanted one state of one model. Name the one to "
            "use; a glob over them makes each a model, and step_pattern makes them steps of one"
        )
    return best


def _has_own_shape(meta: TensorMeta) -> bool:
    """True for types whose tensors have the shape of the weight; integers may hold packed codes."""
    return meta.dtype in _FLOATS or meta.dtype not in DTYPE_BITS


def _differs(group: Sequence[State]) -> str | None:
    """A matrix that has another number of entries elsewhere; None without one."""
    numbers: dict[str, int] = {}
    for state in group:
        for core, meta in state.matrices.items():
            if _has_own_shape(meta) and numbers.setdefault(core, meta.numel) != meta.numel:
                return core
    return None


def _name_of(core: str, group: Sequence[State]) -> str:
    return next(state.matrices[core].name for state in group if core in state.matrices)


def _rank(state: State, group: Sequence[State]) -> tuple[object, ...]:
    """Larger for the state that is preferred: trained before averaged, the last step, the widest."""
    dtypes = {meta.dtype for meta in state.matrices.values()}
    order = [place for place, dtype in enumerate(_SAME_WIDTH) if dtype in dtypes]
    return (
        not state.label.is_average,
        _finality(state.label, [len(s.label.numbers) for s in group]),
        state.label.numbers,
        state.bits,
        -min(order, default=len(_SAME_WIDTH)),
        len(state.tensors),
    )


def _finality(label: StateLabel, counts: Sequence[int]) -> int:
    """How final a state is: one without a number stands after the numbered ones of its name.

    `counts` tells how many numbers the names of all states have.
    """
    if label.word >= 0:
        return label.word
    is_plain = len(label.numbers) == min(counts) and (min(counts) < max(counts) or not min(counts))
    return len(WORDS) if is_plain else -1


def _reason(state: State, best: State) -> str:
    """Why `state` is left out beside `best`."""
    ours, theirs = state.label, best.label
    if ours.is_average and not theirs.is_average:
        what = "an average of the same weights"
    elif (ours.numbers, ours.word) != (theirs.numbers, theirs.word):
        what = "another step or version of the same weights"
    elif state.bits != best.bits or ours.precision != theirs.precision:
        what = "another precision of the same weights"
    else:
        what = "another copy of the same weights"
    return f"{what}: {best.name} is read"
