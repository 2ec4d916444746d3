"""Layers taken out of a checkpoint's weights, and the final fate of every stored tensor.

Composes the name tables, the shape rules, fused parts, experts, adapters and ties. Reads no weights
but the few rows that tell tied tensors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from zoo.formats.weight import Account, Entry, Fate
from zoo.io.paired import BASE
from zoo.layers.adapters import Adapters, adapters_of
from zoo.layers.composed import compose
from zoo.layers.cuts import ModelView, layers_of
from zoo.layers.settings import settings_for
from zoo.layers.shapes import NotALayer
from zoo.layers.spec import LayerSpec, Taken
from zoo.layers.tensor_names import place
from zoo.layers.tied import Digest, digest_of, tie, tie_shared
from zoo.options import LayerSelection

if TYPE_CHECKING:
    from zoo.io.checkpoint import Checkpoint

_NO_CONFIGS: Mapping[str, Mapping[str, object]] = {}
"""No component, and no adapter, has a configuration."""
_NO_HEADER: Mapping[str, str] = {}
"""No component, or no adapter, has a configuration."""


def take(checkpoint: Checkpoint, account: Account, selection: LayerSelection) -> Taken:
    """`take_layers` with everything a checkpoint knows: configs, adapter, shapes, tied tensors."""
    return take_layers(
        account,
        checkpoint.config,
        selection,
        components=checkpoint.component_configs,
        adapters=adapters_of(checkpoint),
        header=checkpoint.metadata,
        stored={name: meta.shape for name, meta in checkpoint.tensors.items()},
        digest=digest_of(checkpoint),
        places={
            name: (meta.file, meta.start, meta.end, meta.dtype, meta.shape, meta.stride)
            for name, meta in checkpoint.tensors.items()
        },
    )


def take_layers(
    account: Account,
    config: Mapping[str, object],
    selection: LayerSelection,
    *,
    components: Mapping[str, Mapping[str, object]] = _NO_CONFIGS,
    adapters: Adapters = _NO_CONFIGS,
    header: Mapping[str, str] = _NO_HEADER,
    stored: Mapping[str, tuple[int, ...]] | None = None,
    digest: Digest | None = None,
    places: Mapping[str, tuple[object, ...]] | None = None,
) -> Taken:
    """The layers of a checkpoint in file order, and every stored tensor's final fate.

    `config` is the model's config.json, `components` those of its components by name prefix,
    `adapters` those of adapters, `header` the strings of the files' headers; `stored` gives the
    shape of every stored tensor, for rows of tensors that could not be decoded. Tied tensors are
    those of equal `digest` and those at the same `places`; without these none are looked for.
    Raises UseError for a malformed `selection.experts`.
    """
    order = {entry.tensor: i for i, entry in enumerate(account.entries)}
    of_models = {"": config, **components} if config else components
    composed = compose(account.weights, adapters, order, selection.adapters, of_models, header)
    shapes = {name: () for name in order} if stored is None else stored
    is_mlx = header.get("format") == "mlx"
    model = ModelView.of(composed, shapes, config, components, selection, is_mlx=is_mlx)
    fates: dict[str, tuple[Fate, str | None]] = dict(composed.companions)
    groups: list[tuple[str, list[LayerSpec]]] = []
    for weight in composed.weights:
        layers = _left_out(weight.name, selection) or layers_of(weight, model)
        if isinstance(layers, NotALayer):
            fates[weight.sources[0]] = (layers.fate, layers.reason)
        else:
            groups.append((weight.sources[0], layers))
    others = (entry for entry in account.entries if entry.tensor not in composed.companions)
    groups.extend(_undecoded(others, selection, stored))
    groups.sort(key=lambda group: order.get(group[0], len(order)))
    specs = [spec for _, layers in groups for spec in layers]
    if digest is not None:
        specs = tie(specs, digest, may_sample=_is_tied_by(config))
    if places is not None:
        specs = tie_shared(specs, places)
    by_source = defaultdict(list)
    for spec in specs:
        by_source[spec.weight.sources[0] if spec.weight else spec.tensor].append(spec)
    for source, layers in by_source.items():
        if not any(spec.is_measurable for spec in layers):
            fates[source] = _fate(layers[0])
    return Taken(
        specs=tuple(replace(spec, layer_index=i) for i, spec in enumerate(specs)),
        entries=tuple(_refined(entry, fates) for entry in account.entries),
    )


def _left_out(name: str, selection: LayerSelection) -> NotALayer | None:
    """Why the globs leave the tensor out, or None."""
    for pattern in selection.exclude:
        if fnmatchcase(name, pattern):
            return NotALayer("skipped", f"excluded: {pattern}")
    if not any(fnmatchcase(name, pattern) for pattern in selection.include):
        return NotALayer("skipped", "not_included: no include glob matches")
    return None


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
    """Fate and reason of a tensor whose layers are not measured, from the first of them."""
    if spec.fail_reason is not None:
        return "unknown", spec.fail_reason
    reason = spec.skip_reason
    return "skipped", f"tied: {spec.tied_to}" if spec.tied_to else reason


def _refined(entry: Entry, fates: Mapping[str, tuple[Fate, str | None]]) -> Entry:
    """The entry of the account, corrected by what became of the tensor's layers."""
    if entry.tensor not in fates:
        return entry
    fate, reason = fates[entry.tensor]
    is_of_base = entry.tensor.startswith(BASE)
    if entry.fate != "analysed" and fate != "companion" and not is_of_base:
        return entry
    return replace(entry, fate=fate, reason=reason)
