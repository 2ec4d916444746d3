"""What a `quantization_config` declares about blocks, groups and bits. Pure.

The dialects: transformers' own (`weight_block_size`), compressed-tensors (`config_groups`),
nvidia-modelopt (`quant_algo`, `group_size`), GPTQ and AWQ (`bits`, `group_size`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Declared:
    """Block sizes a config declares for weights."""

    blocks: tuple[tuple[int, int], ...]
    """Rows and columns that share a scale."""
    only_blocks: bool
    """True when the config allows no scale per tensor or per channel."""


def declared_blocks(config: Mapping[str, object]) -> Declared:
    """The block sizes of a quantisation config; empty when it declares none."""
    direct = _pair(config.get("weight_block_size"))
    if direct:
        return Declared((direct,), only_blocks=True)
    group = config.get("group_size")
    if config_algo(config) == "FP8_PB_WO" and is_count(group):
        assert isinstance(group, int)
        return Declared(((group, group),), only_blocks=True)
    blocks: list[tuple[int, int]] = []
    only_blocks = True
    for weights in weight_schemes(config):
        block, size = _pair(weights.get("block_structure")), weights.get("group_size")
        if weights.get("strategy") == "block" and block:
            blocks.append(block)
        elif weights.get("strategy") in ("group", "tensor_group") and isinstance(size, int):
            blocks.append((1, size))
        else:
            only_blocks = False
    return Declared(tuple(dict.fromkeys(blocks)), only_blocks and bool(blocks))


def weight_schemes(config: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The `weights` of every group of a compressed-tensors config."""
    groups = config.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights


def config_algo(config: Mapping[str, object]) -> str:
    """nvidia-modelopt's `quant_algo`, wherever the version at hand puts it; else empty."""
    inner = config.get("quantization")
    for holder in (config, inner):
        if isinstance(holder, Mapping) and isinstance(holder.get("quant_algo"), str):
            return str(holder["quant_algo"])
    return ""


def method(config: Mapping[str, object]) -> str:
    """`quant_method` in lower case with `_` for `-`; else empty."""
    declared = config.get("quant_method")
    return declared.lower().replace("-", "_") if isinstance(declared, str) else ""


def is_count(value: object) -> bool:
    """True for a positive whole number."""
    return type(value) is int and value > 0


def _pair(value: object) -> tuple[int, int] | None:
    """`value` if it is a list of two positive whole numbers; else None."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_count, value)):
        return int(value[0]), int(value[1])
    return None
