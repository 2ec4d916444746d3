"""Which decoders work where the bytes are: packed weights go to an accelerator as they are stored, and are
unpacked there.

The others decode on the processor, and what they give is moved. A decoder belongs here when all its tensors
come from what it reads: it makes none on a device of its own choice.
"""

from __future__ import annotations

from functools import partial

from zoo.formats.weight import Weight

_MODULES = frozenset(
    f"zoo.formats.{name}"
    for name in ("awq", "fp4", "fp8", "gptq", "hqq", "integers", "mlx", "native", "quark")
)
"""Modules all of whose loaders do so."""


def decodes_on_device(weight: Weight) -> bool:
    """True when `weight` may be loaded from tensors on any device.

    Weights that are computed from several (adapters, weight norm) have loaders of other modules.
    """
    loader = weight.loader
    return isinstance(loader, partial) and loader.func.__module__ in _MODULES
