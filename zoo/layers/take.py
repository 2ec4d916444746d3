"""Layers taken out of a checkpoint's weights, and the final fate of every stored tensor.

Composes the name tables, the shape rules, fused parts, experts, adapters and ties. Reads no weights
but the few rows that tell tied tensors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from zoo.formats.weight import Account, Entry, Fate, Weight
from zoo.layers import experts, fused
from zoo.layers.composed import Composed, compose
from zoo.layers.names import Place, fallback_block, number_blocks, place
from zoo.layers.roles import with_siblings
from zoo.layers.settings import Settings, settings_for
from zoo.layers.shapes import NotALayer, Shape, classify
from zoo.layers.spec import Cut, LayerSpec, Taken
from zoo.layers.tied import Digest, digest_of, tie
from zoo.options import LayerSelection

if TYPE_CHECKING:
    from zoo.io.checkpoint import Checkpoint

_PARTS_WITH_ROLES = frozenset({"q", "k", "v", "gate", "up"})
_NOTHING: Mapping[str, Mapping[str, object]] = {}


def take(
    checkpoint: Checkpoint, account: Account, selection: LayerSelection, *, seed_key: str = ""
) -> Taken:
    """`take_layers` with everything a checkpoint knows: configs, adapter, shapes, tied tensors."""
    return take_layers(
        account,
        checkpoint.config,
        selection,
        seed_key=seed_key,
        components=checkpoint.component_configs,
        adapter=checkpoint.configs.get("adapter_config.json"),
        stored={name: meta.shape for name, meta in checkpoint.tensors.items()},
        digest=digest_of(checkpoint),
    )


def take_layers(
    account: Account,
    config: Mapping[str, object],
    selection: LayerSelection,
    *,
    seed_key: str = "",
    components: Mapping[str, Mapping[str, object]] = _NOTHING,
    adapter: Mapping[str, object] | None = None,
    stored: Mapping[str, tuple[int, ...]] | None = None,
    digest: Digest | None = None,
) -> Taken:
    """The layers of a checkpoint in file order, and every stored tensor's final fate.

    `config` is the model's config.json, `components` those of its components by name prefix,
    `adapter` adapter_config.json; `seed_key` (the revision) seeds the choice of experts; `stored`
    gives the shape of every stored tensor, for rows of tensors that could not be decoded; without
    `digest` no tied tensors are looked for. Raises UseError for a malformed `selection.experts`.
    """
    composed = compose(account.weights, adapter)
    model = _Model.of(account, composed, config, components, selection, seed_key)
    fates: dict[str, tuple[Fate, str | None]] = dict(composed.companions)
    groups: list[tuple[str, list[LayerSpec]]] = []
    for weight in composed.weights:
        rows = _left_out(weight.name, selection) or _rows(weight, model)
        if isinstance(rows, NotALayer):
            fates[weight.sources[0]] = (rows.fate, rows.reason)
        else:
            groups.append((weight.sources[0], rows))
    groups.extend(_undecoded(account.entries, selection, stored))
    order = {entry.tensor: i for i, entry in enumerate(account.entries)}
    groups.sort(key=lambda group: order.get(group[0], len(order)))
    specs = [spec for _, rows in groups for spec in rows]
    if digest is not None:
        specs = tie(specs, digest, may_sample=_is_tied_by(config))
    by_source = defaultdict(list)
    for spec in specs:
        by_source[spec.weight.sources[0] if spec.weight else spec.tensor].append(spec)
    for source, rows in by_source.items():
        if not any(row.is_measurable for row in rows):
            fates[source] = _fate(rows[0])
    return Taken(
        specs=tuple(replace(spec, layer_index=i) for i, spec in enumerate(specs)),
        entries=tuple(_refined(entry, fates) for entry in account.entries),
    )


@dataclass(frozen=True, slots=True)
class _Model:
    """What rows need to know beyond their own tensor."""

    places: Mapping[str, Place]
    blocks: Mapping[tuple[str, tuple[int, ...]], int]
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, object]
    components: Mapping[str, Mapping[str, object]]
    selection: LayerSelection
    sample: int | None
    seed_key: str
    stored_experts: Mapping[tuple[str, tuple[int, ...]], frozenset[int]]

    @classmethod
    def of(
        cls,
        account: Account,
        composed: Composed,
        config: Mapping[str, object],
        components: Mapping[str, Mapping[str, object]],
        selection: LayerSelection,
        seed_key: str,
    ) -> _Model:
        places = {weight.name: place(weight.name) for weight in composed.weights}
        sample = experts.parse_experts(selection.experts)
        numbers: dict[tuple[str, tuple[int, ...]], set[int]] = defaultdict(set)
        for where in places.values():
            if where.expert is not None:
                numbers[where.stack, where.path].add(where.expert)
        shapes: dict[str, tuple[int, ...]] = {place(e.tensor).module: () for e in account.entries}
        shapes |= {places[weight.name].module: weight.shape for weight in composed.weights}
        return cls(
            places=places,
            blocks=number_blocks(places.values()),
            shapes=shapes,
            config=config,
            components=components,
            selection=selection,
            sample=sample,
            seed_key=seed_key,
            stored_experts={
                where: experts.chosen(found, sample, key=(seed_key, where[0], str(where[1])))
                for where, found in numbers.items()
            },
        )

    def settings(self, name: str, where: Place) -> Settings:
        fitting = [prefix for prefix in self.components if prefix and name.startswith(prefix)]
        if fitting:
            prefix = max(fitting, key=len)
            return settings_for(name[len(prefix) :], self.components[prefix])
        return settings_for(where.module, self.config)


def _left_out(name: str, selection: LayerSelection) -> NotALayer | None:
    """Why the globs leave the tensor out, or None."""
    for pattern in selection.exclude:
        if fnmatchcase(name, pattern):
            return NotALayer("skipped", f"excluded: {pattern}")
    if not any(fnmatchcase(name, pattern) for pattern in selection.include):
        return NotALayer("skipped", "not_included: no include glob matches")
    return None


def _rows(weight: Weight, model: _Model) -> list[LayerSpec] | NotALayer:
    where = model.places[weight.name]
    settings = model.settings(weight.name, where)
    if experts.is_stack(where, weight.shape):
        return _stacked(weight, where, settings, model)
    shape = classify(weight.name, weight.shape, where)
    if isinstance(shape, NotALayer):
        return shape
    if where.expert is not None:
        if where.expert not in model.stored_experts[where.stack, where.path]:
            return NotALayer("skipped", f"not_sampled: experts = {model.selection.experts}")
    spec = _spec(weight, where, shape, model)
    number = experts.flat_stack(where, weight.shape, settings)
    if number is not None:
        return _flat(spec, number, where, model)
    if len(weight.shape) != 2 or spec.fail_reason is not None or 0 in weight.shape:
        return [_sized(spec, model.selection)]
    matrix = (weight.shape[0], weight.shape[1])
    split = fused.split_matrix(where.module, spec.role, matrix, settings, model.shapes)
    return _split(spec, split, model.selection)


def _spec(weight: Weight, where: Place, shape: Shape, model: _Model) -> LayerSpec:
    role = with_siblings(where.module, where.role or shape.default_role, model.shapes)
    block = model.blocks.get((where.stack, where.path))
    if block is None and role in ("dense", "conv"):
        block = fallback_block(where.module)
    return LayerSpec(
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


def _stacked(weight: Weight, where: Place, settings: Settings, model: _Model) -> list[LayerSpec]:
    """Rows of a tensor `[experts, rows, columns]`."""
    fault = experts.stack_fault(weight.shape, settings)
    if fault is not None:
        return [_spec(weight, where, Shape(1, None, None, "dense", fail_reason=fault), model)]
    number, rows, cols = weight.shape
    spec = _spec(weight, where, Shape(1, rows, cols, "dense"), model)
    split: fused.Split = fused.Whole(None)
    if spec.role.endswith("gate_up"):
        split = experts.split_expert(where.module, (rows, cols), settings, model.shapes)
    return [
        replace(row, expert=e, cut=replace(row.cut, expert=e))
        for e in sorted(_chosen(number, where, model))
        for row in _split(spec, split, model.selection)
    ]


def _flat(spec: LayerSpec, number: int, where: Place, model: _Model) -> list[LayerSpec]:
    """Rows of a tensor `[experts · rows, columns]`."""
    rows = (spec.rows or 0) // number
    return [
        _sized(
            replace(spec, expert=e, rows=rows, cut=Cut(band=(e * rows, (e + 1) * rows))),
            model.selection,
        )
        for e in sorted(_chosen(number, where, model))
    ]


def _chosen(number: int, where: Place, model: _Model) -> frozenset[int]:
    key = (model.seed_key, where.stack, str(where.path))
    return experts.chosen(range(number), model.sample, key=key)


def _split(spec: LayerSpec, split: fused.Split, selection: LayerSelection) -> list[LayerSpec]:
    """The rows that `selection.fused` asks for."""
    if isinstance(split, fused.Whole):
        return [_sized(replace(spec, note=split.note), selection)]
    whole = [spec] if selection.fused in ("whole", "both") else []
    prefix = next((p for p in ("cross_", "shared_") if spec.role.startswith(p)), "")
    parts = [
        replace(
            spec,
            part=part.name,
            role=prefix + part.name if part.name in _PARTS_WITH_ROLES else spec.role,
            rows=part.rows,
            cols=part.cols,
            cut=part.cut,
        )
        for part in split
        if selection.fused in ("split", "both")
    ]
    return [_sized(row, selection) for row in whole + parts]


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


def _undecoded(
    entries: Iterable[Entry],
    selection: LayerSelection,
    stored: Mapping[str, tuple[int, ...]] | None,
) -> Iterator[tuple[str, list[LayerSpec]]]:
    """A failed row for every tensor that would be a layer but could not be decoded."""
    for entry in entries:
        shape = None if stored is None else stored.get(entry.tensor)
        if entry.fate != "unknown" or (shape is not None and len(shape) < 2):
            continue
        if _left_out(entry.tensor, selection) is not None:
            continue
        where = place(entry.tensor)
        spec = LayerSpec(
            layer_index=0,
            tensor=entry.tensor,
            part=None,
            block=where.path[0] if where.path else None,
            role=where.role or "dense",
            expert=where.expert,
            num_slices=1,
            rows=None,
            cols=None,
            weight=None,
            fail_reason=entry.reason or "unknown: no decoder knows this tensor",
        )
        yield entry.tensor, [spec]


def _is_tied_by(config: Mapping[str, object]) -> bool:
    """True unless the config says that embedding and head are separate."""
    settings = settings_for("", config)
    return settings.flag("tie_word_embeddings", default=True)


def _fate(spec: LayerSpec) -> tuple[Fate, str | None]:
    if spec.fail_reason is not None:
        return "unknown", spec.fail_reason
    reason = spec.skip_reason
    return "skipped", f"tied: {spec.tied_to}" if spec.tied_to else reason


def _refined(entry: Entry, fates: Mapping[str, tuple[Fate, str | None]]) -> Entry:
    if entry.fate != "analysed" or entry.tensor not in fates:
        return entry
    fate, reason = fates[entry.tensor]
    return replace(entry, fate=fate, reason=reason)
