"""What adapter configurations say of one module: alpha, rank, and whether its update is LoRA's.

A configuration covers the tensors of its folder (`adapter_config.json`, PEFT and MLX) or of one
component (`lora_adapter_metadata` in the header, diffusers). Where none covers a module, the
settings that name rank and alpha elsewhere count: `zoo.layers.adapter_settings`. Knows nothing of
tensors.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Final

from zoo.layers.adapter_settings import UpdateSettings, header_settings, mlx_settings, number
from zoo.layers.factors import says_factor
from zoo.layers.tensor_names import MAX_CHARS, place

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
_WHOLE: Final = ("embedding", "head", "classifier")
"""Roles of layers that PEFT saves whole, without saying so, when it had to change their size."""


def adapters_of(checkpoint: Checkpoint) -> Adapters:
    """Every adapter configuration of a checkpoint."""
    by_prefix: dict[str, Mapping[str, object]] = {}
    for file, config in checkpoint.configs.items():
        folder, _, name = file.rpartition("/")
        if name == _FILE:
            by_prefix[folder.replace("/", ".") + "." if folder else ""] = config
    return by_prefix or header_settings(checkpoint.metadata.get(_METADATA, ""), checkpoint.metadata)


def covering(module: str, adapters: Adapters) -> tuple[str, Mapping[str, object] | None]:
    """The path of `module` within the model, and the configuration that covers it, if any."""
    prefixes = [prefix for prefix in adapters if module.startswith(prefix)]
    if not prefixes:
        return module.removeprefix(_WRAPPER), None
    prefix = max(prefixes, key=len)
    return module[len(prefix) :].removeprefix(_WRAPPER), adapters[prefix]


def update_settings(module: str, rank: int, adapters: Adapters) -> UpdateSettings:
    """What the configuration that covers `module` says; `rank` is that of the stored factors.

    Neither alpha nor a fault: no configuration covers it.
    """
    path, config = covering(module, adapters)
    if config is None:
        if module.startswith(_WRAPPER) or f".{_WRAPPER}" in module:
            return UpdateSettings(
                None, fault="lora: adapter_config.json is missing, so alpha is not known"
            )
        return UpdateSettings(None)
    if reason := undecoded_kind(config):
        return UpdateSettings(None, fault=reason)
    if "lora_parameters" in config:
        return mlx_settings(config, rank)
    declared = _by_pattern(config, "rank_pattern", "r", path)
    if isinstance(declared, int) and declared != rank:
        return UpdateSettings(None, fault=f"lora: factors of rank {rank}, {_FILE} says {declared}")
    stored = _by_pattern(config, "alpha_pattern", "lora_alpha", path)
    alpha = number(stored)
    if alpha is not None:
        return UpdateSettings(alpha, bool(config.get("use_rslora")))
    return UpdateSettings(None, fault=f"lora: lora_alpha in {_FILE} is {stored!r}, wanted a number")


def undecoded_kind(config: Mapping[str, object]) -> str | None:
    """Why adapters of this configuration are not LoRA; None when they are."""
    if "lora_parameters" in config:
        kind = config.get("fine_tune_type", "lora")
        if kind in ("lora", "dora", "full"):
            return None
        return f"adapter: fine_tune_type {str(kind)[:40]!r}; wanted lora"
    kind = config.get("peft_type", "LORA")
    return None if kind == "LORA" else f"adapter: peft_type {str(kind)[:40]!r}; wanted LORA"


def plain_in_adapter(name: str, adapters: Adapters, with_model: Container[str]) -> str | None:
    """Why a plain matrix of this name is no weight although nothing pairs it; None when it is one.

    It is one outside adapters, where the adapter saved a module whole (`modules_to_save`, MLX's
    `full`), and where its file is that of a model which has an adapter beside it. `with_model`
    holds the prefixes under which the configuration of a model lies.
    """
    path, config = covering(name, adapters)
    if config is None or config.get("fine_tune_type") == "full":
        return None
    prefix = max((p for p in adapters if name.startswith(p)), key=len)
    if prefix in with_model and _WRAPPER not in name:
        return None
    saved = config.get("modules_to_save")
    names = [n for n in saved if isinstance(n, str)] if isinstance(saved, list) else []
    words = path.split(".")
    if "modules_to_save" in words or any(saved_name in words for saved_name in names):
        return None
    if words[-1] == "weight" and place(path).role in _WHOLE:
        return None
    return undecoded_kind(config) or (
        "adapter: a matrix that is no LoRA pair and that modules_to_save does not name, in the "
        "file of an adapter. Report the kind of adapter"
    )


def lone_factor(name: str) -> str | None:
    """Why a tensor of this name is no weight: it is a factor of an update; None when it is none."""
    if len(name) > MAX_CHARS or not (_FACTOR.search(name) or says_factor(name)):
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
