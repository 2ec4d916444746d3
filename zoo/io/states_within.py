"""States of one model that lie in one file, or one state dict, under several prefixes. Pure.

Training programs keep an average beside the weights (`ema.`, `model_ema.`, `teacher.`), or the same
weights bare and below a wrapper (`module.`). One state is measured, the others are set aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from zoo.io.core_names import core_name, is_average, is_clear_wrapper, is_matrix, preference
from zoo.io.header import TensorMeta
from zoo.io.left_out import AGAIN

_MIN_SHARED = 0.5
"""A state that averages another one shares at least this part of its matrices with it."""
_MIN_MATRICES = 2
"""Fewer matrices below a word that may also name a part of a model are no second state."""

_Shapes = dict[str, tuple[int, ...]]
"""Shapes of matrices, by the name that all states share."""


def states_within(tensors: Iterable[TensorMeta]) -> dict[str, str]:
    """Why a tensor is set aside, by name: it belongs to another state than the one measured."""
    names: dict[str, list[str]] = {}
    matrices: dict[str, _Shapes] = {}
    for meta in tensors:
        name = core_name(meta.name)
        names.setdefault(name.label, []).append(meta.name)
        if is_matrix(meta):
            matrices.setdefault(name.label, {})[name.core] = meta.shape
    for word in _copies(matrices.get("", {})):
        prefix = f"{word}."
        names[word] = [name for name in names[""] if name.startswith(prefix)]
        names[""] = [name for name in names[""] if not name.startswith(prefix)]
        inside = [core for core in matrices[""] if core.startswith(prefix)]
        matrices[word] = {core.removeprefix(prefix): matrices[""].pop(core) for core in inside}
    aside: dict[str, str] = {}
    measured: dict[str, tuple[str, tuple[int, ...]]] = {}
    for label in sorted(
        matrices, key=lambda label: (is_average(label), -len(matrices[label]), preference(label))
    ):
        other = _twin(label, matrices[label], measured)
        if other is None:
            for core, shape in matrices[label].items():
                measured.setdefault(core, (label, shape))
            continue
        beside = f"{_shown(label)} beside {_shown(other)}, which is measured"
        reason = f"{AGAIN}state of the weights in the same file ({beside})"
        aside.update(dict.fromkeys(names[label], reason))
    return aside


def _copies(bare: _Shapes) -> list[str]:
    """First words below which all that stands without them stands once more."""
    by_word: dict[str, _Shapes] = {}
    for core, shape in bare.items():
        word, dot, rest = core.partition(".")
        if dot and not word.isdigit():  # numbers count layers
            by_word.setdefault(word, {})[rest] = shape
    return [
        word
        for word, below in by_word.items()
        if len(below) >= _MIN_MATRICES
        and 2 * len(below) == len(bare)
        and all(bare.get(rest) == shape for rest, shape in below.items())
    ]


def _twin(
    label: str, ours: _Shapes, measured: Mapping[str, tuple[str, tuple[int, ...]]]
) -> str | None:
    """The label of the state that is measured in place of `label`; None when it is none's twin."""
    shared = ours.keys() & measured.keys()
    if not is_average(label):
        is_again = len(shared) == len(ours)
        is_again &= all(ours[core] == measured[core][1] for core in shared)
        is_again &= is_clear_wrapper(label) or len(ours) >= _MIN_MATRICES
        return _most_common(measured[core][0] for core in shared) if is_again else None
    if all(core.isdigit() for core in ours):  # a list without names
        lacking = Counter(ours.values()) - Counter(shape for _, shape in measured.values())
        return None if lacking else _most_common(other for other, _ in measured.values())
    if not shared:  # latent-diffusion takes the dots out of the names in its average
        flat = {core.replace(".", ""): other for core, other in measured.items()}
        if {core.replace(".", "") for core in ours} <= flat.keys():
            return _most_common(other for other, _ in flat.values())
    is_again = len(shared) >= max(1, _MIN_SHARED * len(ours))
    return _most_common(measured[core][0] for core in shared) if is_again else None


def _most_common(labels: Iterable[str]) -> str | None:
    counts = Counter(labels).most_common(1)
    return counts[0][0] if counts else None


def _shown(label: str) -> str:
    return f"'{label}.'" if label else "the one without a prefix"
