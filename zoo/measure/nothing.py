"""Models of which nothing can be measured: a failure, unless the user's own choice left nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from zoo.formats.weight import Entry
from zoo.io.header import TensorMeta
from zoo.layers.spec import LayerSpec
from zoo.options import LayerSelection

_BY_CHOICE = ("excluded:", "not_included:")
"""What the reasons start with for tensors that `include` and `exclude` leave out."""


def is_left_by_choice(entries: Iterable[Entry], selection: LayerSelection) -> bool:
    """True when the user's own globs, or a `min_evals` of their own, left tensors out."""
    by_globs = any((entry.reason or "").startswith(_BY_CHOICE) for entry in entries)
    return by_globs or selection.min_evals > LayerSelection().min_evals


def is_without_layers(
    specs: Iterable[LayerSpec], entries: Sequence[Entry], selection: LayerSelection
) -> bool:
    """True when no layer can be measured and none fails for a reason of its own.

    False when the user's choice left nothing: that is no fault of the model.
    """
    if any(spec.is_measurable or spec.fail_reason is not None for spec in specs):
        return False
    return not is_left_by_choice(entries, selection)


def why_without_layers(
    entries: Sequence[Entry], tensors: Mapping[str, TensorMeta], where: str
) -> str:
    """The message of the failure: how many tensors there are, and why none is a layer."""
    empty = [name for name, meta in tensors.items() if meta.numel == 0]
    if empty:
        return (
            f"no layer of {where} can be measured: {len(empty)} of {len(tensors)} tensors are "
            f"empty, such as {empty[0]!r} {list(tensors[empty[0]].shape)}; wanted weights. They "
            "were saved without gathering them (DeepSpeed ZeRO-3): save the model again"
        )
    reasons = Counter((entry.reason or entry.fate).split(":")[0] for entry in entries)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    return (
        f"no layer of {where} can be measured among {len(entries)} tensors ({counts}); wanted at "
        "least one matrix. Check that these files are the model"
    )
