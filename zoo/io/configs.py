"""The JSON files beside the weights: config, adapter and quantisation settings.

Read defensively: bounded size and depth, an object or an error. NaN and Infinity are let through
because the common writers produce them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from zoo.errors import CheckpointError
from zoo.io.files import read_bytes
from zoo.io.store import Store

MAX_CONFIG_BYTES = 16 << 20
"""A larger config is refused unread: real ones take kilobytes."""
CONFIGS_OF_A_FILE = (
    "config.json", "adapter_config.json", "quantize_config.json", "quant_config.json",
    "hf_quant_config.json",
)  # fmt: skip
"""Files that say how the weights beside them are to be read."""
CONFIG_NAMES = (*CONFIGS_OF_A_FILE, "model_index.json", "modules.json")
"""Every file of settings that is read."""
_OLD_QUANTISATION_FILES = {
    "quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt",
}  # fmt: skip
"""Files in which older tools wrote what `quantization_config` in config.json says today, and the
method that each stands for."""


def read_configs(store: Store) -> dict[str, Mapping[str, object]]:
    """The config files of a store by name. The list in `modules.json` comes under `modules`."""
    configs: dict[str, Mapping[str, object]] = {}
    for name, size in store.files().items():
        if name.rpartition("/")[2] in CONFIG_NAMES and name.count("/") <= 2:
            configs[name] = _object(_read(store, name, size), name)
    return configs


def main_config(configs: Mapping[str, Mapping[str, object]], folder: str) -> dict[str, object]:
    """config.json of `folder`, with older quantisation files folded into `quantization_config`."""
    prefix = f"{folder}/" if folder else ""
    config = dict(configs.get(f"{prefix}config.json", {}))
    for name, method in _OLD_QUANTISATION_FILES.items():
        if "quantization_config" not in config and f"{prefix}{name}" in configs:
            config["quantization_config"] = {"quant_method": method, **configs[f"{prefix}{name}"]}
    return config


def parse_config(raw: bytes, *, file: str) -> object:
    """Any JSON; CheckpointError names `file` when it is none."""
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: not JSON ({str(error)[:200]}); wanted a JSON object. Repair or remove it"
        ) from error


def base_named_by_adapter(store: Store) -> str | None:
    """The base model that the adapter_config.json at the top of a store names; None without one.

    A file that cannot be understood names none: whoever reads the adapter says what is wrong.
    """
    name = "adapter_config.json"
    size = store.files().get(name)
    if size is None:
        return None
    try:
        settings = _read(store, name, size)
    except CheckpointError:
        return None
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    return base if isinstance(base, str) and base else None


def base_named_by_config(store: Store) -> str | None:
    """The `_name_or_path` of the config.json at the top of a store: what training started from, or the model
    itself. None without one. CheckpointError for a file that is no JSON."""
    size = store.files().get("config.json")
    config = None if size is None else _read(store, "config.json", size)
    name = config.get("_name_or_path") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name else None


def _read(store: Store, name: str, size: int) -> object:
    if size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{name}: {size:,} bytes; wanted a config of at most 16 MiB")
    file = store.open(name)
    try:
        return parse_config(read_bytes(file, 0, size), file=name)
    finally:
        file.close()


def _object(value: object, name: str) -> Mapping[str, object]:
    """`value` if it is a JSON object; the list that `modules.json` is comes under `modules`."""
    if isinstance(value, list) and name.endswith("modules.json"):
        return {"modules": value}
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{name}: holds a {type(value).__name__}; wanted a JSON object. Repair or remove it"
        )
    return value
