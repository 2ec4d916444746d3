"""What a decoder says about stored tensors, and the words decoders share.

A decoder is a function that looks at the tensors nobody has claimed yet and yields claims. It
reads nothing: names, types, shapes and the config decide. What it cannot decode it claims too,
without a weight and with a reason, so that nothing is analysed as raw bytes by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from zoo.errors import DecodeError
from zoo.formats.weight import Loader, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import TensorMeta

SCALE_FLOATS = ("F16", "BF16", "F32")
"""Plain floats in which scales, biases and zero points are stored."""

Free: TypeAlias = Mapping[str, TensorMeta]
"""Tensors not claimed by an earlier decoder, in file order."""

Decoder: TypeAlias = "Callable[[Checkpoint, Free], Iterator[Claim]]"
"""A function that yields the claims of one format."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One weight, or the reason why there is none."""

    main: str
    """Stored tensor that holds the values."""
    companions: tuple[str, ...]
    """Other stored tensors that this claim explains."""
    weight: Weight | None
    """None when it cannot be decoded."""
    reason: str | None
    """Why it cannot; None when it can."""


def claim_weight(
    free: Free,
    main: str,
    *,
    companions: tuple[str, ...],
    unread: tuple[str, ...] = (),
    make: Callable[[], tuple[str, tuple[int, ...], str, Loader]],
) -> Claim:
    """A claim from `make() -> (name, shape, decoder, loader)`, which may raise DecodeError.

    Names that are not there are dropped. `companions` are read with the weight; `unread` belong
    to it, but decoding does not need them (scales of activations).
    """
    read = tuple(name for name in companions if name in free)
    there = (*read, *(name for name in unread if name in free))
    try:
        name, shape, decoder, loader = make()
    except DecodeError as error:
        return Claim(main, there, None, str(error))
    sources = (main, *read)
    num_bytes = sum(free[source].nbytes for source in sources)
    weight = Weight(name, shape, free[main].dtype, decoder, sources, loader, num_bytes)
    return Claim(main, there, weight, None)


def wanted(
    free: Free,
    name: str,
    *,
    of: str,
    shapes: tuple[tuple[int, ...], ...] = (),
    dtypes: tuple[str, ...] = (),
) -> TensorMeta:
    """The companion `name` of the tensor `of`; DecodeError when it is missing or of wrong kind."""
    meta = free.get(name)
    if meta is None:
        raise DecodeError(
            f"{of}: no tensor {name!r} beside it; wanted its quantisation data. It was lost or "
            "renamed: save the checkpoint again, or report the format"
        )
    if shapes and meta.shape not in shapes:
        choice = " or ".join(str(list(shape)) for shape in shapes)
        raise DecodeError(f"{of}: {name!r} has shape {list(meta.shape)}; wanted {choice}")
    if dtypes and meta.dtype not in dtypes:
        raise DecodeError(f"{of}: {name!r} has dtype {meta.dtype}; wanted {' or '.join(dtypes)}")
    return meta


def quantisation(checkpoint: Checkpoint, tensor: str) -> Mapping[str, object]:
    """The `quantization_config` that covers a tensor; empty when there is none."""
    config = checkpoint.config_of(tensor)
    for holder in (config, config.get("text_config"), config.get("llm_config")):
        if isinstance(holder, Mapping):
            for key in ("quantization_config", "compression_config"):
                settings = holder.get(key)
                if isinstance(settings, Mapping):
                    return settings
    return {}
