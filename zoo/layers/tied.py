"""Tied tensors: an embedding stored a second time as the head, or shared between two stacks.

Whatever lies at the same bytes of a file is tied (PyTorch files store a shared tensor once). Of the
rest only tensors of equal shape and type in the roles of embedding and head are compared, first by a few
blocks of rows. Where the config denies the tie, equal samples are confirmed by the whole content:
two heads may differ in a few trained rows only.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from zoo.formats.weight import Weight
from zoo.layers.spec import LayerSpec

if TYPE_CHECKING:
    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

_ROLES: Final = frozenset({"embedding", "lm_head"})
"""Roles of tensors that may be tied."""
_SAMPLE_BLOCKS: Final = 6
"""Blocks of rows in the sample by which tensors are compared first."""
_SAMPLE_BLOCK_ROWS: Final = 16
"""Most rows of such a block."""
_SAMPLE_SHARE: Final = 0.002
"""Most rows of the sample, as a share of the tensor's: they are read a second time when it is
measured."""
_READ_BYTES: Final = 16 << 20
"""Bytes read at a time where the whole content is compared."""


class Digest(Protocol):
    """Content of a weight as a short string."""

    def __call__(self, weight: Weight, *, whole: bool) -> str:
        """The digest of all stored bytes when `whole`, else of a fixed sample of them."""


def tie(specs: Sequence[LayerSpec], digest: Digest, *, may_sample: bool) -> list[LayerSpec]:
    """The specs, where a weight equal to an earlier one is skipped and names it.

    An embedding is kept before a head, else the first in the file. `may_sample` trusts equal
    samples; otherwise they are confirmed by the whole content.
    """
    weights: dict[str, tuple[Weight, str]] = {
        spec.tensor: (spec.weight, spec.role)
        for spec in specs
        if spec.weight is not None and spec.is_measurable and spec.role in _ROLES
    }
    alike = defaultdict(list)
    for name, (weight, role) in weights.items():
        alike[weight.shape, weight.stored_dtype, weight.decoder].append((role, name, weight))
    kept: dict[str, str] = {}
    for group in alike.values():
        if len(group) < 2:
            continue
        group.sort(key=lambda member: member[0] != "embedding")  # stable: else file order
        for same in _classes([weight for _, _, weight in group], digest, whole=not may_sample):
            kept.update({weight.name: same[0].name for weight in same[1:]})
    return _skipped(specs, kept)


def tie_shared(
    specs: Sequence[LayerSpec], places: Mapping[str, tuple[object, ...]]
) -> list[LayerSpec]:
    """The specs, where a weight that lies where an earlier one does is skipped and names it.

    `places` tells by stored name where a tensor lies and how its bytes are read.
    """
    rows = defaultdict(list)
    for spec in specs:
        if spec.weight is not None and spec.is_measurable:
            rows[spec.tensor].append((spec.part, spec.expert))
    first: dict[tuple[object, ...], str] = {}
    kept: dict[str, str] = {}
    for spec in specs:
        if spec.weight is None or spec.tensor not in rows:
            continue
        weight = spec.weight
        where = tuple(places.get(source, (source,)) for source in weight.sources)
        same = first.setdefault((where, weight.decoder, tuple(rows[spec.tensor])), spec.tensor)
        if same != spec.tensor:
            kept[spec.tensor] = same
    return _skipped(specs, kept)


def _skipped(specs: Sequence[LayerSpec], kept: Mapping[str, str]) -> list[LayerSpec]:
    """The specs, skipped where `kept` names the equal tensor that is kept in their place."""
    return [
        replace(spec, tied_to=kept[spec.tensor], skip_reason="tied")
        if spec.tensor in kept and spec.is_measurable
        else spec
        for spec in specs
    ]


def _classes(weights: Sequence[Weight], digest: Digest, *, whole: bool) -> list[list[Weight]]:
    """The weights in classes of equal content, by their samples or by all bytes when `whole`."""
    classes: dict[str, list[Weight]] = defaultdict(list)
    for weight in weights:
        classes[digest(weight, whole=False)].append(weight)
    if not whole:
        return list(classes.values())
    confirmed: dict[str, list[Weight]] = defaultdict(list)
    for same in classes.values():
        for weight in same if len(same) > 1 else ():
            confirmed[digest(weight, whole=True)].append(weight)
    return list(confirmed.values())


def digest_of(checkpoint: Checkpoint) -> Digest:
    """Digests of the stored bytes of a weight's tensors, read by blocks of rows."""

    def digest(weight: Weight, *, whole: bool) -> str:
        import torch

        content = hashlib.blake2b(digest_size=16)
        for source in weight.sources:
            meta = checkpoint.tensors[source]
            for rows in _ranges(meta.shape, meta.nbytes, whole=whole):
                block = checkpoint.read(source, rows).contiguous().flatten()
                content.update(block.view(torch.uint8).numpy().data)
        return content.hexdigest()

    return digest


def _ranges(shape: tuple[int, ...], nbytes: int, *, whole: bool) -> list[RowRange | None]:
    """Rows to read: all in blocks of 16 MiB, or a few blocks spread over the tensor, its last rows
    among them. None stands for all of a short tensor."""
    rows = shape[0] if shape else 0
    block = min(_SAMPLE_BLOCK_ROWS, max(1, int(_SAMPLE_SHARE * rows / _SAMPLE_BLOCKS)))
    if rows <= _SAMPLE_BLOCKS:
        return [None]
    if whole:
        step = max(1, _READ_BYTES * rows // max(nbytes, 1))
        return [(a, min(a + step, rows)) for a in range(0, rows, step)]
    starts = [i * (rows - block) // (_SAMPLE_BLOCKS - 1) for i in range(_SAMPLE_BLOCKS)]
    return [(a, a + block) for a in starts]
