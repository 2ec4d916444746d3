"""Layers taken out of a checkpoint's weights, and the final fate of every stored tensor.

Composes the name tables, the shape rules, fused parts and expert stacks. Reads no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from zoo.formats.weight import Account, Entry, Fate, Weight
from zoo.layers.names import Place, fallback_block, number_blocks, place
from zoo.layers.shapes import NotALayer, classify
from zoo.layers.spec import Cut, LayerSpec, Taken
from zoo.options import LayerSelection


def take_layers(
    account: Account,
    config: Mapping[str, object],
    selection: LayerSelection,
    *,
    seed_key: str = "",
) -> Taken:
    """The layers of a checkpoint in file order, and every stored tensor's final fate.

    `config` is the model's `config.json`; `seed_key` (the revision) seeds the choice of experts.
    """
    places = {weight.name: place(weight.name) for weight in account.weights}
    blocks = number_blocks(places.values())
    specs: list[LayerSpec] = []
    fates: dict[str, tuple[Fate, str | None]] = {}
    for weight in account.weights:
        where = places[weight.name]
        left_out = _left_out(weight.name, selection)
        if left_out is not None:
            fates.update(dict.fromkeys(weight.sources[:1], ("skipped", left_out)))
            continue
        rows = _rows(weight, where, blocks, selection)
        if isinstance(rows, NotALayer):
            fates.update(dict.fromkeys(weight.sources[:1], (rows.fate, rows.reason)))
            continue
        specs.extend(rows)
        reasons = [row.skip_reason or row.fail_reason for row in rows]
        if all(reasons):
            fate: Fate = "unknown" if any(row.fail_reason for row in rows) else "skipped"
            fates.update(dict.fromkeys(weight.sources[:1], (fate, reasons[0])))
    return Taken(
        specs=tuple(replace(spec, layer_index=i) for i, spec in enumerate(specs)),
        entries=tuple(_refined(entry, fates) for entry in account.entries),
    )


def _left_out(name: str, selection: LayerSelection) -> str | None:
    """Reason why the globs leave the tensor out, or None."""
    for pattern in selection.exclude:
        if fnmatchcase(name, pattern):
            return f"excluded: {pattern}"
    if not any(fnmatchcase(name, pattern) for pattern in selection.include):
        return "not_included: no include glob matches"
    return None


def _rows(
    weight: Weight,
    where: Place,
    blocks: Mapping[tuple[str, tuple[int, ...]], int],
    selection: LayerSelection,
) -> list[LayerSpec] | NotALayer:
    shape = classify(weight.name, weight.shape, where)
    if isinstance(shape, NotALayer):
        return shape
    role = where.role or shape.default_role
    block = blocks.get((where.stack, where.path))
    if block is None and role in ("dense", "conv"):
        block = fallback_block(where.module)
    spec = LayerSpec(
        layer_index=0,
        tensor=weight.name,
        part=None,
        block=block,
        role=role,
        expert=where.expert,
        num_slices=shape.num_slices,
        rows=shape.rows,
        cols=shape.cols,
        weight=weight,
        cut=Cut(kernel=shape.kernel),
        fail_reason=shape.fail_reason,
    )
    return [_sized(spec, selection)]


def _sized(spec: LayerSpec, selection: LayerSelection) -> LayerSpec:
    """The spec, marked as skipped when it is empty or has too few eigenvalues."""
    if spec.rows is None or spec.cols is None or spec.fail_reason is not None:
        return spec
    num_evals = spec.num_slices * min(spec.rows, spec.cols)
    if num_evals == 0:
        return replace(spec, skip_reason="empty")
    if num_evals < selection.min_evals:
        return replace(
            spec,
            skip_reason=f"too_small: {num_evals} eigenvalues, min_evals is {selection.min_evals}",
        )
    return spec


def _refined(entry: Entry, fates: Mapping[str, tuple[Fate, str | None]]) -> Entry:
    if entry.fate != "analysed" or entry.tensor not in fates:
        return entry
    fate, reason = fates[entry.tensor]
    return replace(entry, fate=fate, reason=reason)
