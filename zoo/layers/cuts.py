"""The layers that one weight gives: one, its fused parts, its experts.

Knows nothing of the fate of stored tensors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from zoo.formats.weight import Weight
from zoo.layers import experts
from zoo.layers.composed import Composed
from zoo.layers.fused import split_matrix
from zoo.layers.fused_experts import split_expert
from zoo.layers.heads import by_heads
from zoo.layers.parts import Split, Whole, matrix_of
from zoo.layers.readers import reads_half, swiglu_by_shape
from zoo.layers.roles import with_siblings
from zoo.layers.settings import Settings, settings_for
from zoo.layers.shapes import NotALayer, Shape, classify
from zoo.layers.spec import Cut, LayerSpec
from zoo.layers.tensor_names import MAX_CHARS, Place, fallback_block, number_blocks, place
from zoo.options import LayerSelection

_ATTENTION: Final = {"q": "q", "k": "k", "v": "v", "gate": "attn_gate", "z": "attn_gate",
                     "mlp_in": "mlp_in"}  # fmt: skip
"""The role of a part of a fused projection of an attention, by its name."""
_MLP: Final = {"gate": "gate", "up": "up"}
"""The same of an MLP."""
_ROLES_OF_PARTS: Final = {
    **dict.fromkeys(("qkv", "kv", "q", "q_b"), _ATTENTION),
    **dict.fromkeys(("gate_up", "mlp_in", "up"), _MLP),
}
"""Roles of the parts of a tensor by its own role; other parts keep the role of their tensor."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """What has to be known of the whole model to cut one weight into layers."""

    places: Mapping[str, Place]
    """Where each weight sits in the model, by its name."""
    blocks: Mapping[tuple[str, tuple[int, ...]], int]
    """Block number by stack and path."""
    shapes: Mapping[str, tuple[int, ...]]
    """Every tensor of the model by module path."""
    config: Mapping[str, object]
    """The model's config.json."""
    components: Mapping[str, Mapping[str, object]]
    """The config.json of each component, by name prefix."""
    selection: LayerSelection
    sample: int | None
    """Experts looked at in each block; None: all."""
    stored_experts: Mapping[tuple[str, tuple[int, ...]], frozenset[int]]
    """Experts stored one by one that are looked at, by stack and path."""
    faults: Mapping[str, str]
    """Weights that cannot be computed, and why."""
    is_mlx: bool
    """True when kernels have their axes in MLX's order."""
    settings_of: dict[str, Settings] = field(default_factory=dict)
    """Memory of `settings`: a model has thousands of tensors and a handful of parts."""

    @classmethod
    def of(
        cls,
        composed: Composed,
        stored: Mapping[str, tuple[int, ...]],
        config: Mapping[str, object],
        components: Mapping[str, Mapping[str, object]],
        selection: LayerSelection,
        *,
        is_mlx: bool = False,
    ) -> ModelView:
        """The view of a model with these weights; `stored` are the shapes of all stored tensors."""
        places = {weight.name: place(weight.name) for weight in composed.weights}
        sample = selection.expert_sample
        numbers: dict[tuple[str, tuple[int, ...]], set[int]] = defaultdict(set)
        for where in places.values():
            if where.expert is not None:
                numbers[where.stack, where.path].add(where.expert)
        shapes = {place(name).module: shape for name, shape in stored.items() if name not in places}
        shapes |= {places[weight.name].module: weight.shape for weight in composed.weights}
        return cls(
            places=places,
            blocks=number_blocks(places.values()),
            shapes=shapes,
            config=config,
            components=components,
            selection=selection,
            sample=sample,
            stored_experts={
                where: experts.chosen(stored_here, sample, key=(where[0], str(where[1])))
                for where, stored_here in numbers.items()
            },
            faults=composed.faults,
            is_mlx=is_mlx,
        )

    def settings(self, name: str, where: Place) -> Settings:
        """The settings of the part of the model that a weight belongs to."""
        part = f"{where.stack}." if where.path else name
        if part not in self.settings_of:
            self.settings_of[part] = self._settings(part)
        return self.settings_of[part]

    def _settings(self, name: str) -> Settings:
        prefixes = [prefix for prefix in self.components if prefix and name.startswith(prefix)]
        if prefixes:
            prefix = max(prefixes, key=len)
            return settings_for(name[len(prefix) :], self.components[prefix])
        return settings_for(name, self.config)


def layers_of(weight: Weight, model: ModelView) -> list[LayerSpec] | NotALayer:
    """The layers of one weight, or why it is none."""
    where = model.places[weight.name]
    if len(weight.name) > MAX_CHARS:
        fault = f"name_too_long: {len(weight.name)} characters, wanted at most {MAX_CHARS}"
        return [_spec(weight, where, Shape(1, None, None, "dense", fail_reason=fault), model)]
    settings = model.settings(weight.name, where)
    if experts.is_stack(where, weight.shape, settings):
        return _stacked(weight, where, settings, model)
    shape = _shape(weight, where, settings, model)
    if isinstance(shape, NotALayer):
        return shape
    if where.expert is not None:
        if where.expert not in model.stored_experts[where.stack, where.path]:
            return NotALayer("skipped", f"not_sampled: experts = {model.selection.experts}")
    spec = _spec(weight, where, shape, model)
    number = experts.flat_stack(where, weight.shape, settings)
    if number is not None:
        return _flat(spec, number, where, model)
    is_matrix = spec.cut == Cut() and spec.fail_reason is None and 0 not in weight.shape
    matrix = matrix_of(weight.shape) if is_matrix else None
    if matrix is None:
        return [_sized(spec, model.selection)]
    split = split_matrix(where.module, spec.role, matrix, settings, model.shapes)
    return _split(spec, split, model.selection)


def _shape(weight: Weight, where: Place, settings: Settings, model: ModelView) -> Shape | NotALayer:
    """What a weight is that holds no stack of experts."""
    by_its_heads = by_heads(weight.name, weight.shape, where)
    if by_its_heads is not None:
        return by_its_heads
    unnamed = experts.unnamed_stack(where, weight.shape, settings)
    if unnamed is not None:
        return Shape(1, None, None, "dense", fail_reason=unnamed)
    kind = classify(weight.name, weight.shape, where, is_mlx=model.is_mlx)
    fault = model.faults.get(weight.name)
    if isinstance(kind, NotALayer) and fault is not None:
        return Shape(1, None, None, "dense", fail_reason=fault)
    return kind


def _spec(weight: Weight, where: Place, shape: Shape, model: ModelView) -> LayerSpec:
    """The weight as one layer."""
    weak = None if shape.default_role == "conv" else where.weak_role
    role = with_siblings(where.module, where.role or weak or shape.default_role, model.shapes)
    if role == "mlp_out" and reads_half(where.module, model.shapes):
        role = "down"
    role = swiglu_by_shape(where.module, model.shapes) or role
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
        cut=Cut(kernel=shape.kernel, fold=shape.fold),
        fail_reason=model.faults.get(weight.name, shape.fail_reason),
    )


def _stacked(
    weight: Weight, where: Place, settings: Settings, model: ModelView
) -> list[LayerSpec] | NotALayer:
    """The layers of a tensor `[experts, rows, columns]`."""
    fault = experts.stack_fault(where, weight.shape, settings)
    if fault is not None:
        return [_spec(weight, where, Shape(1, None, None, "dense", fail_reason=fault), model)]
    number, matrix = weight.shape[0], experts.stack_matrix(weight.shape)
    if matrix is None:
        return NotALayer("skipped", f"vector: {number} experts with a vector each")
    spec = _spec(weight, where, Shape(1, *matrix, "dense"), model)
    split = split_expert(where.module, spec.role, matrix, settings, model.shapes)
    return [
        replace(part, expert=e, cut=replace(part.cut, expert=e))
        for e in sorted(_chosen(number, where, model))
        for part in _split(spec, split, model.selection)
    ]


def _flat(spec: LayerSpec, number: int, where: Place, model: ModelView) -> list[LayerSpec]:
    """The layers of a tensor `[experts · rows, columns]`."""
    rows = (spec.rows or 0) // number
    return [
        _sized(
            replace(spec, expert=e, rows=rows, cut=Cut(band=(e * rows, (e + 1) * rows))),
            model.selection,
        )
        for e in sorted(_chosen(number, where, model))
    ]


def _chosen(number: int, where: Place, model: ModelView) -> frozenset[int]:
    """Which of the `number` experts of a stack are looked at."""
    key = (where.stack, str(where.path))
    return experts.chosen(range(number), model.sample, key=key)


def _split(spec: LayerSpec, split: Split, selection: LayerSelection) -> list[LayerSpec]:
    """The parts, the whole, or both, as `selection.fused` asks."""
    prefix = next((p for p in ("cross_", "shared_") if spec.role.startswith(p)), "")
    if isinstance(split, Whole):
        role = spec.role if split.role is None else prefix + split.role
        return [_sized(replace(spec, role=role, note=split.note), selection)]
    whole = [spec] if selection.fused in ("whole", "both") else []
    roles = _ROLES_OF_PARTS.get(spec.role.removeprefix(prefix), {})
    parts = [
        replace(
            spec,
            part=part.name,
            role=prefix + roles[part.name] if part.name in roles else spec.role,
            rows=part.rows,
            cols=part.cols,
            cut=part.cut,
        )
        for part in split
        if selection.fused in ("split", "both")
    ]
    return [_sized(layer, selection) for layer in whole + parts]


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
