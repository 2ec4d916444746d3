"""What adapter configurations say of one module: alpha, rank, and whether its update is LoRA's.

A configuration covers the tensors of its folder (`adapter_config.json`, PEFT) or of one component
(`lora_adapter_metadata` in the header, diffusers). Knows nothing of tensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zoo.layers.tensor_names import MAX_CHARS

if TYPE_CHECKING:
    from zoo.io.checkpoint import Checkpoint

Adapters = Mapping[str, Mapping[str, object]]
"""Configuration by the prefix of the tensor names it covers; the empty prefix covers all."""

_FILE: Final = "adapter_config.json"
"""The file in which PEFT describes an adapter."""
_METADATA: Final = "lora_adapter_metadata"
"""The key of the header under which diffusers describes one."""
_WRAPPER: Final = "base_model.model."
"""What PEFT puts before the name of every module of the model it wraps."""
_FACTOR: Final = re.compile(
    r"(?:^|[._])(?:lora_(?:embedding_)?[ABE]|lora_(?:up|down|mid)|lora\.(?:up|down)"
    r"|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|vera_[AB]|b?oft_\w+)(?:\.\w+)*$"
)
"""Names of the factors of LoRA and of its relatives: LoHa, LoKr, VeRA, OFT."""


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """What is known of one module's update before its factors are read."""

    alpha: float | None
    """LoRA's alpha; None when nothing tells it."""
    use_rslora: bool = False
    """True when the update is scaled by alpha/√rank instead of alpha/rank."""
    fault: str | None = None
    """Why the update cannot be computed."""


def adapters_of(checkpoint: Checkpoint) -> Adapters:
    """Every adapter configuration of a checkpoint."""
    by_prefix: dict[str, Mapping[str, object]] = {}
    for file, config in checkpoint.configs.items():
        folder, _, name = file.rpartition("/")
        if name == _FILE:
            by_prefix[folder.replace("/", ".") + "." if folder else ""] = config
    return by_prefix or _in_header(checkpoint.metadata.get(_METADATA, ""))


def covering(module: str, adapters: Adapters) -> tuple[str, Mapping[str, object] | None]:
    """The path of `module` within the model, and the configuration that covers it, if any."""
    prefixes = [prefix for prefix in adapters if module.startswith(prefix)]
    if not prefixes:
        return module.removeprefix(_WRAPPER), None
    prefix = max(prefixes, key=len)
    return module[len(prefix) :].removeprefix(_WRAPPER), adapters[prefix]


def update_settings(module: str, rank: int, adapters: Adapters) -> UpdateSettings:
    """What the configuration that covers `module` says; `rank` is that of the stored factors."""
    path, config = covering(module, adapters)
    if config is None:
        if module.startswith(_WRAPPER) or f".{_WRAPPER}" in module:
            return UpdateSettings(
                None, fault="lora: adapter_config.json is missing, so alpha is not known"
            )
        return UpdateSettings(None)
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        return UpdateSettings(None, fault=f"adapter: peft_type {str(kind)[:40]!r}; wanted LORA")
    declared = _by_pattern(config, "rank_pattern", "r", path)
    if isinstance(declared, int) and declared != rank:
        return UpdateSettings(None, fault=f"lora: factors of rank {rank}, {_FILE} says {declared}")
    alpha = _by_pattern(config, "alpha_pattern", "lora_alpha", path)
    if isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha):
        return UpdateSettings(float(alpha), bool(config.get("use_rslora")))
    return UpdateSettings(None, fault=f"lora: lora_alpha in {_FILE} is {alpha!r}, wanted a number")


def lone_factor(name: str) -> str | None:
    """Why a tensor of this name is no weight: it is a factor of an update; None when it is none."""
    if len(name) > MAX_CHARS or _FACTOR.search(name) is None:
        return None
    return "adapter: a factor of an update that is no LoRA pair; wanted lora_A with lora_B"


def _by_pattern(config: Mapping[str, object], patterns: str, default: str, path: str) -> object:
    """The value of the first pattern that fits the end of `path` (PEFT `get_pattern_key`)."""
    by_pattern = config.get(patterns)
    for key, value in by_pattern.items() if isinstance(by_pattern, Mapping) else ():
        try:
            if path == key or re.match(rf"(.*\.)?({key})$", path):
                return value
        except re.error:
            continue
    return config.get(default)


def _in_header(text: str) -> Adapters:
    """The configurations in `{"transformer.lora_alpha": 16, ...}`, as diffusers writes them."""
    try:
        settings = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        settings = {}
    by_prefix: dict[str, dict[str, object]] = {}
    for key, value in settings.items() if isinstance(settings, dict) else ():
        component, dot, setting = key.rpartition(".")
        by_prefix.setdefault(component + dot, {})[setting] = value
    return {prefix: config for prefix, config in by_prefix.items() if "lora_alpha" in config}
