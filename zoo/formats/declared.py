"""What a config says of quantisation: by which method, and which modules the method leaves alone.

A method that no decoder reads covers every matrix of its component but those the config itself
leaves alone: what is stored there as plain floats may be rotated, scaled, half of a sum, or a
table, and none of that can be told from its type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from zoo.formats.claim import quantisation
from zoo.formats.scheme import method
from zoo.io.checkpoint import Checkpoint
from zoo.io.paired import BASE

READ_METHODS = frozenset({
    "auto_awq", "auto_gptq", "auto_round", "awq", "bitnet", "bitsandbytes", "bitsandbytes_4bit",
    "bitsandbytes_8bit", "blockwise_int8", "compressed_tensors", "exl2", "fbgemm_fp8", "fp8",
    "gguf", "gptq", "gptqmodel", "hqq", "intel/auto_round", "metal", "mlx", "modelopt",
    "modelopt_fp4", "modelopt_fp8", "modelopt_mixed", "mxfp4", "mxfp8", "nvfp4", "quark", "torchao",
    "w8a8_fp8", "w8a8_int8",
})  # fmt: skip
"""Methods (lower case, `_` for `-`) whose codes a decoder reads or refuses by structure. A matrix
stored as plain floats under one of them is the matrix the model computes with."""

_KEYS_OF_ONE_METHOD = {"quip_params": "quip"}
"""Keys of config.json that declare a method without naming it."""

_LEFT_ALONE = (
    "modules_to_not_convert", "modules_not_to_quantize", "modules_to_not_quantize", "ignore",
    "ignored_layers", "ignored_modules", "skip_modules", "skip_layers", "exclude",
    "exclude_layers", "exclude_modules", "linear_weights_not_to_quantize", "llm_int8_skip_modules",
)  # fmt: skip
"""Keys under which configs list the modules that their method leaves alone."""
_EMBEDDING = re.compile(r"emb[^.]*\.weight$")
"""What methods convert is linear layers; an embedding they do convert is stored as codes."""
_MAX_PATTERN_CHARS = 200
"""A longer name in such a list is passed over."""


def unread_method(checkpoint: Checkpoint, tensor: str) -> str | None:
    """The method that covers a tensor and that no decoder reads; None when there is none."""
    if _is_of_an_adapter(checkpoint, tensor):
        return None  # the config is that of its base model
    config = checkpoint.config_of(tensor)
    for key, name in _KEYS_OF_ONE_METHOD.items():
        if config.get(key):
            return name
    settings = quantisation(checkpoint, tensor)
    name = method(settings)
    if not name or name in READ_METHODS or _EMBEDDING.search(tensor):
        return None
    return None if _is_left_alone(tensor, settings) else str(settings["quant_method"])


def _is_of_an_adapter(checkpoint: Checkpoint, tensor: str) -> bool:
    configs = checkpoint.component_configs
    return BASE in configs and configs.get("") is configs[BASE] and not tensor.startswith(BASE)


def _is_left_alone(tensor: str, settings: Mapping[str, object]) -> bool:
    """True when a name or glob in the config's own list meets the tensor's path.

    A name meets it as whole segments anywhere in the path (`lm_head`, `mlp.gate`), which is how
    transformers reads such lists. Regular expressions are not run: a config is not to be trusted.
    """
    path = f".{tensor}."
    return any(
        f".{pattern}." in path
        or fnmatchcase(tensor, pattern)
        or fnmatchcase(tensor, f"{pattern}.*")
        for pattern in _patterns(settings)
    )


def _patterns(settings: Mapping[str, object]) -> Iterator[str]:
    for key in _LEFT_ALONE:
        listed = settings.get(key)
        for pattern in listed if isinstance(listed, (list, tuple)) else ():
            if isinstance(pattern, str) and 0 < len(pattern) <= _MAX_PATTERN_CHARS:
                yield pattern.strip(".")
