"""From a store to a checkpoint: which files, which headers, one table of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.checkpoint import Checkpoint
from zoo.io.configs import main_config, read_configs
from zoo.io.files import read_bytes
from zoo.io.gguf_header import Value, read_gguf_header
from zoo.io.header import MAX_HEADER_BYTES, TensorMeta, read_header
from zoo.io.index import Index, parse_index
from zoo.io.inventory import Group, Inventory, take_inventory
from zoo.io.paired import BASE, FOLDER, PairedStore
from zoo.io.pickles import read_pickle_table
from zoo.io.reading import RangeReader
from zoo.io.store import Store
from zoo.io.weight_files import is_weight_file

_DEVICE_SLICE = re.compile(r"\.\d\d\.(safetensors|pth|pt|bin)$")
"""Ending of a file that holds one device's slices of tensors, `consolidated.00.pth`."""


def open_checkpoint(store: Store) -> Checkpoint:
    """The checkpoint in a store: headers are read, weights are not.

    Closing the checkpoint closes the store. CheckpointError (or a kind of it) names the file that
    is wrong.
    """
    configs = read_configs(store)
    modules = _module_folders(configs.get("modules.json", {}))
    if isinstance(store, PairedStore):
        modules.append(FOLDER)
    inventory = take_inventory(store.files(), where=store.model_id, modules=modules)
    opened = _open_gguf if inventory.container == "gguf" else _open_groups
    checkpoint = opened(store, inventory, configs)
    if not checkpoint.tensors:
        files = ", ".join(f for group in inventory.groups for f in group.files)
        raise CheckpointError(f"no weights in {files} of {store.model_id}; wanted tensors")
    return checkpoint


def _open_groups(
    store: Store, inventory: Inventory, configs: Mapping[str, Mapping[str, object]]
) -> Checkpoint:
    """A checkpoint of safetensors files or pickles."""
    by_name: dict[str, TensorMeta] = {}
    metadata: dict[str, str] = {}
    read: set[str] = set()
    for group in inventory.groups:
        tensors = _read_group(store, group, metadata)
        read |= {t.file for t in tensors} | set(group.files)
        for tensor in _without_collisions(group, tensors, by_name):
            if tensor.name in by_name:
                raise CheckpointError(
                    f"{by_name[tensor.name].file} and {tensor.file} both give {tensor.name!r}; "
                    "wanted it once. Name the file to use"
                )
            by_name[tensor.name] = tensor
    left_out = tuple(n for n in store.files() if is_weight_file(n) and n not in read)
    return Checkpoint(
        by_name.values(),
        RangeReader(store),
        container="pickle" if inventory.container == "pickle" else "safetensors",
        configs=configs,
        component_configs=component_configs(configs),
        metadata=metadata,
        left_out=left_out,
    )


def _open_gguf(
    store: Store, inventory: Inventory, configs: Mapping[str, Mapping[str, object]]
) -> Checkpoint:
    """A GGUF file or its splits. Its pairs become the config when there is no config.json."""
    by_name: dict[str, TensorMeta] = {}
    pairs: dict[str, Value] = {}
    for name in inventory.groups[0].files:
        file = store.open(name)
        try:
            header = read_gguf_header(file)
        finally:
            file.close()
        pairs = {**header.pairs, **pairs}
        for tensor in header.tensors:
            if tensor.name in by_name:
                raise CheckpointError(
                    f"tensor {tensor.name!r} is in {by_name[tensor.name].file} and in {name}; "
                    "wanted it once. Fetch the splits again"
                )
            by_name[tensor.name] = tensor
    return Checkpoint(
        by_name.values(),
        RangeReader(store),
        container="gguf",
        configs=configs,
        component_configs={"": pairs, **component_configs(configs)},
        metadata={key: value for key, value in pairs.items() if isinstance(value, str)},
        left_out=inventory.left_out,
    )


def component_configs(
    configs: Mapping[str, Mapping[str, object]],
) -> dict[str, Mapping[str, object]]:
    """The config by tensor-name prefix: `` for the top folder, `unet.` for `unet/config.json`."""
    folders = {name.rpartition("/")[0] for name in configs}
    by_prefix = {f.replace("/", ".") + "." if f else "": main_config(configs, f) for f in folders}
    if BASE in by_prefix and not by_prefix.get(""):
        by_prefix[""] = by_prefix[BASE]  # what an adapter changes is laid out as its base model is
    return {prefix: config for prefix, config in by_prefix.items() if config}


def _read_group(store: Store, group: Group, metadata: dict[str, str]) -> list[TensorMeta]:
    """The tensors of a group in file order, prefixed. Shards may not repeat a tensor."""
    index = _read_index(store, group.index) if group.index else None
    by_name: dict[str, TensorMeta] = {}
    for shard in index.shards if index else group.files:
        if shard not in store.files():
            named_by = f" named in {index.file}" if index else ""
            raise MissingShardError(
                f"shard {shard!r}{named_by} is not in {store.model_id}; fetch it again"
            )
        for tensor in _read_table(store, shard, metadata):
            if index and tensor.name in by_name and index.shard_of.get(tensor.name) != shard:
                continue  # the index says which copy counts, and it came first
            twin = by_name.get(tensor.name)
            if twin and not (index and index.shard_of.get(tensor.name) == shard):
                raise CheckpointError(
                    f"tensor {tensor.name!r} is in {twin.file} and in {shard}; wanted it once. "
                    "Name the file to use"
                )
            by_name[tensor.name] = tensor
    if index:
        _check_index(index, by_name)
    return [replace(t, name=group.prefix + t.name) for t in by_name.values()]


def _read_table(store: Store, name: str, metadata: dict[str, str]) -> tuple[TensorMeta, ...]:
    """The tensors of one file."""
    file = store.open(name)
    try:
        if name.endswith(".safetensors"):
            header = read_header(file)
            for key, value in header.metadata.items():
                metadata.setdefault(key, value)
            return header.tensors
        return read_pickle_table(file)
    finally:
        file.close()


def _read_index(store: Store, name: str) -> Index:
    size = store.files()[name]
    file = store.open(name)
    try:
        return parse_index(read_bytes(file, 0, min(size, MAX_HEADER_BYTES + 1)), file=name)
    finally:
        file.close()


def _check_index(index: Index, by_name: Mapping[str, TensorMeta]) -> None:
    """Every tensor that the index names must be in the shard it says."""
    for name, shard in index.shard_of.items():
        if name not in by_name or by_name[name].file != shard:
            there = f"it is in {by_name[name].file}" if name in by_name else "no shard has it"
            raise CheckpointError(
                f"{index.file} says tensor {name!r} is in {shard}, but {there}; "
                "fetch the shard and the index again"
            )


def _without_collisions(
    group: Group, tensors: list[TensorMeta], read_before: Mapping[str, TensorMeta]
) -> Iterable[TensorMeta]:
    """`tensors`, prefixed with the file's stem when a file read before holds the same names."""
    twin = next((t for t in tensors if t.name in read_before), None)
    if twin is None:
        return tensors
    if _DEVICE_SLICE.search(twin.file):
        raise CheckpointError(
            f"tensor {twin.name!r} is in {read_before[twin.name].file} and in {twin.file}: slices of one "
            "model made for several devices; wanted whole tensors. Convert the checkpoint"
        )
    stem = twin.file.rpartition("/")[2].rpartition(".")[0]
    return [replace(t, name=f"{group.prefix}{stem}.{t.name[len(group.prefix) :]}") for t in tensors]


def _module_folders(listing: Mapping[str, object]) -> list[str]:
    """Subfolders that a sentence-transformers `modules.json` counts as parts of the model."""
    modules = listing.get("modules")
    if not isinstance(modules, list):
        return []
    paths = [m.get("path") for m in modules if isinstance(m, dict)]
    return [p for p in paths if isinstance(p, str) and p]
