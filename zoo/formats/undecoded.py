"""Plain matrices that belong to codes: low-rank corrections, codebooks, rotations, scales.

A quantised module may keep matrices of plain floats beside its codes. None of them is a layer of
its own, and while one of them is not understood the codes beside it are only part of the weight. So

 - in a module whose codes nobody decoded, and in its children, every plain matrix is undecoded too;
 - a weight decoded from codes is withdrawn when its module holds a plain matrix nobody claimed;
 - a plain matrix with a scale of its own beside it may hold codes under a float type;
 - under a `quant_method` that no decoder reads, every matrix the method covers is undecoded.

All of it goes by structure: types, shapes, and who lies beside or below whom.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from zoo.formats.claim import Claim, Free
from zoo.formats.declared import unread_method
from zoo.formats.leftovers import no_weight
from zoo.formats.signatures import format_of
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import TensorMeta

_CODES = re.compile(r"(^|[._])(q?weights?|weight_packed|W_q|codes|q?idxs)$", re.I)
"""Names of codes whose type or shape alone would not say so."""
_LORA = re.compile(r"\.lora([._](down|up|mid)|_(embedding_)?[AB])(\.|$)")
"""Factors of adapters, which are measured as what they add to a weight, not as part of its codes."""
_NUMBERED = re.compile(r"(^|\.)[0-9]+\.[^.]+\.")
"""A numbered child with modules below it."""


def hold_codes(meta: TensorMeta) -> bool:
    """True for a stored matrix that is neither plain floats nor a mask, an index or a buffer.

    torch's indices are I64, and a row of whole numbers is mostly an order or a list: these are codes
    only under the names of codes.
    """
    if meta.dtype in (*NATIVE_FLOATS, "BOOL") or meta.numel <= 1:
        return False
    is_matrix = len(meta.shape) >= 2 and meta.dtype != "I64"
    return (is_matrix or _CODES.search(meta.name) is not None) and no_weight(meta) is None


def without_partial(checkpoint: Checkpoint, free: Free, claims: Sequence[Claim]) -> list[Claim]:
    """The claims, but withdrawn is what was decoded under an unread method or is part of a weight.

    Part of one is each decoded `weight` with a plain matrix beside or below it that is in `free` or
    that fits no weight. A module whose codes have other names than `weight` holds several weights of
    its own (stacks of experts), which do not touch each other.
    """
    decoded = {claim.weight.name.rpartition(".")[0]: claim.weight.name for claim in claims
               if claim.weight is not None and claim.weight.name.endswith(".weight")}  # fmt: skip
    containers = _containers(checkpoint, decoded, decoded)
    failed = (checkpoint.tensors[claim.main] for claim in claims if claim.weight is None)
    beside: dict[str, str] = {}
    for meta in (*free.values(), *failed):
        above = _weight_above(meta.name, decoded, containers)
        is_matrix = meta.dtype in NATIVE_FLOATS and sum(size > 1 for size in meta.shape) >= 2
        if above is None or not is_matrix or _LORA.search(meta.name):
            continue
        if no_weight(meta) is None:
            beside.setdefault(above.rpartition(".")[0], meta.name)
    return [_kept_or_withdrawn(checkpoint, claim, beside) for claim in claims]


def _kept_or_withdrawn(checkpoint: Checkpoint, claim: Claim, beside: dict[str, str]) -> Claim:
    if claim.weight is None:
        return claim
    module, _, leaf = claim.weight.name.rpartition(".")
    named = unread_method(checkpoint, claim.main)
    if named is not None:
        reason = (
            f"{claim.main}: codes of the format {named!r}, which no decoder reads, though they "
            f"look like {claim.weight.decoder}. Dequantise the checkpoint, or report the format"
        )
    elif leaf == "weight" and module in beside:
        reason = (
            f"{claim.main}: decoded as {claim.weight.decoder} it would be one part of the weight: "
            f"{beside[module]!r} beside it is a matrix that this format does not have (a low-rank "
            "correction, a rotation or a table). Report the format"
        )
    else:
        return claim
    return replace(claim, weight=None, reason=reason)


def undecoded(checkpoint: Checkpoint, free: Free, claims: Iterable[Claim]) -> Iterator[Claim]:
    """Every unclaimed plain matrix that codes or an unread method keep from being a layer."""
    failed, decoded = _modules(checkpoint, free, claims)
    containers = _containers(checkpoint, {*failed, *decoded}, failed)
    for name, meta in free.items():
        if meta.dtype not in NATIVE_FLOATS or len(meta.shape) < 2:
            continue
        codes = _weight_above(name, failed, containers)
        scale = _scale_of(checkpoint, name)
        named = unread_method(checkpoint, name)
        if codes is not None:
            format_name = format_of(checkpoint, codes)
            what = f" of the format {format_name!r}" if format_name else ""
            yield Claim(
                name, (), None,
                f"{name}: beside codes{what} that no decoder reads ({codes}), so it is no layer of "
                "its own. Report the format, or dequantise the checkpoint",
            )  # fmt: skip
        elif scale is not None:
            yield Claim(
                name, (), None,
                f"{name}: plain floats ({meta.dtype}) with a scale of its own, {scale!r}, beside it; "
                "whether it is applied already, nothing says. Drop the scale, or report the format",
            )  # fmt: skip
        elif named is not None and not _LORA.search(name):
            yield Claim(
                name, (), None,
                f"{name}: the config's quant_method is {named!r}, which no decoder reads, so plain "
                "floats may be half of a weight; wanted a known method, or the module among those "
                "the config leaves alone. Report the format, or dequantise the checkpoint",
            )  # fmt: skip


def _scale_of(checkpoint: Checkpoint, name: str) -> str | None:
    """A tensor that by its name scales the weight `name` alone, and not what flows through it."""
    stem = name.removesuffix("weight")
    names = [f"{name}_scale", f"{name}_scale_inv"]
    if stem != name:
        names += [f"{stem}qscale_weight", f"{stem}scale_weight", f"{stem}SCB"]
        names += [f"{stem}scale"] if checkpoint.container == "gguf" else []
    return next((scale for scale in names if scale in checkpoint.tensors), None)


def _modules(
    checkpoint: Checkpoint, free: Free, claims: Iterable[Claim]
) -> tuple[dict[str, str], set[str]]:
    """Modules with codes nobody decoded, with the codes' name; and modules with decoded codes."""
    failed: dict[str, str] = {}
    decoded: set[str] = set()
    for claim in claims:
        module = claim.main.rpartition(".")[0]
        if claim.weight is not None:
            decoded.add(module)
        elif hold_codes(checkpoint.tensors[claim.main]):
            failed.setdefault(module, claim.main)
    for name, meta in free.items():
        if hold_codes(meta):
            failed.setdefault(name.rpartition(".")[0], name)
    return failed, decoded


def _containers(
    checkpoint: Checkpoint, coded: Collection[str], failed: Collection[str]
) -> set[str]:
    """Modules among `failed` whose children are modules of their own right, not data of codes.

    A child with a bias beside its weight, a numbered child with modules below it, or a child with
    codes of its own says so; the whole model (no name) is always one.
    """
    containers = {""} & set(failed)
    for module in coded:
        containers.update(above for above in _above(module.rpartition(".")[0]) if above in failed)
    for name in checkpoint.tensors:
        module, _, leaf = name.rpartition(".")
        is_layer = leaf == "bias" and f"{module}.weight" in checkpoint.tensors
        for above in _above(module.rpartition(".")[0]):
            if above in failed and above not in containers:
                below = name[len(above) + 1 :]
                if is_layer or _NUMBERED.search(below):
                    containers.add(above)
    return containers


def _weight_above(name: str, failed: dict[str, str], containers: Collection[str]) -> str | None:
    """The codes, of those in `failed` by their modules, that a matrix lies beside or below."""
    if not failed:
        return None
    module = name.rpartition(".")[0]
    if module in failed:
        return failed[module]
    for above in _above(module.rpartition(".")[0]):
        if above in failed and above not in containers:
            return failed[above]
    return None


def _above(module: str) -> Iterator[str]:
    """A module and those that contain it, innermost first; the whole model is ``."""
    while module:
        yield module
        module = module.rpartition(".")[0]
    yield ""
