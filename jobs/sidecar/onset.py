"""When traps began in a layer, while its training still runs. Pure.

The view `onset` looks back on a whole trajectory. Here the future is not known, and one matrix in a hundred
gives a false alarm at any step; so traps have begun when two measured steps in a row have one, after a step
without. What is said depends on the rows alone, so a training that goes on says nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Layer = tuple[str, str | None, int | None]
"""Tensor, part, expert."""


def begun_at(series: Mapping[int, float], step: int) -> int | None:
    """The step at which a layer's traps began, if `step` is the one that makes it certain; else None.

    `series`: traps by measured step; later steps than `step`, of an earlier life of the training, do not
    count.
    """
    steps = sorted(s for s in series if s <= step)
    has_trap = [series[s] > 0 for s in steps]
    certain = [i for i in range(2, len(steps)) if has_trap[i] and has_trap[i - 1]]
    without = has_trap.index(False) if False in has_trap else len(steps)
    first = next((i for i in certain if i - 1 > without), None)
    return steps[first - 1] if first is not None and steps[first] == step else None


def begun(rows: Iterable[Mapping[str, object]], step: int) -> dict[str, int]:
    """Layer -> step of its onset, for those that `step` makes certain.

    `rows`: tensor, part, expert, step, num_traps of all layers and steps.
    """
    by_layer: dict[Layer, dict[int, float]] = {}
    for row in rows:
        layer = (row["tensor"], row["part"], row["expert"])
        by_layer.setdefault(layer, {})[row["step"]] = row["num_traps"]  # type: ignore[index, arg-type, assignment]
    begun = {name_of(layer): begun_at(series, step) for layer, series in by_layer.items()}
    return {name: at for name, at in begun.items() if at is not None}


def name_of(layer: Layer) -> str:
    """A layer in words: `h.0.attn.c_attn.weight q`."""
    tensor, part, expert = layer
    more = [part] if part is not None else []
    return " ".join([tensor, *more, *([f"expert {expert}"] if expert is not None else [])])
