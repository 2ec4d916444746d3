"""From a store to a checkpoint: which files, which headers, one table of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.checkpoint import Checkpoint
from zoo.io.configs import main_config, read_configs
from zoo.io.files import read_bytes
from zoo.io.gguf_header import Value, read_gguf_header
from zoo.io.gguf_kinds import pick_gguf
from zoo.io.header import MAX_HEADER_BYTES, TensorMeta, read_header
from zoo.io.index import Index, parse_index
from zoo.io.inventory import Group, take_inventory
from zoo.io.left_out import LeftOut
from zoo.io.lfs import refuse_pointer
from zoo.io.paired import BASE, FOLDER, PairedStore
from zoo.io.pickles import read_pickle_table
from zoo.io.reading import RangeReader
from zoo.io.store import Store

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
    sizes = store.files()
    indexes = _Indexes(store)
    inventory = take_inventory(
        sizes,
        where=store.model_id,
        modules=modules,
        components=configs.get("model_index.json", {}),
        shards_of=indexes.shards_of,
    )
    opened = _Opened(store, indexes, list(inventory.left_out))
    for group in sorted(inventory.groups, key=lambda g: g.is_optional):
        opened.add(group)
    if not opened.by_name:
        files = ", ".join(sorted(opened.files))
        raise CheckpointError(f"no weights in {files} of {store.model_id}; wanted tensors")
    left_out = (left for left in opened.left_out if left.file not in opened.files)
    return Checkpoint(
        opened.by_name.values(),
        RangeReader(store),
        container=inventory.groups[0].container,
        configs=configs,
        component_configs={**opened.gguf_configs, **component_configs(configs)},
        metadata=opened.metadata,
        left_out=tuple(sorted(left_out, key=lambda left: left.file)),
        files=sizes,
    )


@dataclass(frozen=True, slots=True)
class _Indexes:
    """The indexes of a store, each read once."""

    store: Store
    known: dict[str, Index] = field(default_factory=dict)

    def read(self, name: str) -> Index:
        """The index called `name`. CheckpointError when it is none."""
        if name not in self.known:
            size = self.store.files()[name]
            file = self.store.open(name)
            try:
                refuse_pointer(file)
                raw = read_bytes(file, 0, min(size, MAX_HEADER_BYTES + 1))
            finally:
                file.close()
            self.known[name] = parse_index(raw, file=name)
        return self.known[name]

    def shards_of(self, name: str) -> tuple[str, ...] | None:
        """The shards it names; None when it cannot be understood."""
        try:
            return self.read(name).shards
        except CheckpointError:
            return None


@dataclass(slots=True)
class _Opened:
    """What the groups read so far have given."""

    store: Store
    indexes: _Indexes
    left_out: list[LeftOut]
    by_name: dict[str, TensorMeta] = field(default_factory=dict)
    """Tensors by the name they go by in the checkpoint."""
    stored_names: set[str] = field(default_factory=set)
    """Their names without the prefix of a folder."""
    metadata: dict[str, str] = field(default_factory=dict)
    gguf_configs: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """The key-value pairs of GGUF files by prefix: the config where there is no config.json."""
    files: set[str] = field(default_factory=set)
    """Weight files that are read."""

    def add(self, group: Group) -> None:
        """Read the headers of a group; an optional one is left out when it is a second copy."""
        if not group.is_optional:
            self._keep(group, self._tensors(group))
            return
        if group.container == "gguf":
            self._leave(group, "GGUF files of another folder than the weights that are read")
            return
        try:
            tensors = self._tensors(group)
        except CheckpointError as error:
            self._leave(group, f"in a folder apart, and it cannot be read: {error}")
            return
        twin = next((t for t in tensors if t.name in self.stored_names), None)
        if twin is None:
            self._keep(group, tensors)
        else:
            self._leave(group, f"holds {twin.name!r} again, which is read from another container")

    def _keep(self, group: Group, tensors: list[TensorMeta]) -> None:
        self.stored_names |= {t.name for t in tensors}
        self.files |= {t.file for t in tensors} | set(group.files)
        prefixed = [replace(t, name=group.prefix + t.name) for t in tensors]
        for tensor in _without_collisions(group, prefixed, self.by_name):
            if tensor.name in self.by_name:
                raise CheckpointError(
                    f"{self.by_name[tensor.name].file} and {tensor.file} both give "
                    f"{tensor.name!r}; wanted it once. Name the file to use"
                )
            self.by_name[tensor.name] = tensor

    def _leave(self, group: Group, reason: str) -> None:
        names = [*group.files, *(f for s in group.candidates for f in s.files)]
        if group.index is not None:
            shards = self.indexes.shards_of(group.index) or ()
            names += [group.index, *(shard for shard in shards if shard in self.store.files())]
        self.left_out += [LeftOut(name, self.store.files()[name], reason) for name in names]

    def _tensors(self, group: Group) -> list[TensorMeta]:
        """The tensors of a group in file order, under their names in the files."""
        if group.container == "gguf":
            return self._gguf_tensors(group)
        index = None if group.index is None else self.indexes.read(group.index)
        return _read_group(self.store, group, index, self.metadata)

    def _gguf_tensors(self, group: Group) -> list[TensorMeta]:
        """The tensors of the GGUF file, or of the splits of one, that is the model."""
        files, left_out = pick_gguf(self.store, group.candidates)
        self.left_out += left_out
        by_name: dict[str, TensorMeta] = {}
        pairs: dict[str, Value] = {}
        for name in files:
            file = self.store.open(name)
            try:
                refuse_pointer(file)
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
        self.files |= set(files)
        self.gguf_configs[group.prefix] = pairs
        self.metadata.update({k: v for k, v in pairs.items() if isinstance(v, str)})
        return list(by_name.values())


def component_configs(
    configs: Mapping[str, Mapping[str, object]],
) -> dict[str, Mapping[str, object]]:
    """The config by tensor-name prefix: `` for the top folder, `unet.` for `unet/config.json`."""
    folders = {name.rpartition("/")[0] for name in configs}
    by_prefix = {f.replace("/", ".") + "." if f else "": main_config(configs, f) for f in folders}
    if BASE in by_prefix and not by_prefix.get(""):
        by_prefix[""] = by_prefix[BASE]  # what an adapter changes is laid out as its base model is
    return {prefix: config for prefix, config in by_prefix.items() if config}


def _read_group(
    store: Store, group: Group, index: Index | None, metadata: dict[str, str]
) -> list[TensorMeta]:
    """The tensors of a group in file order. Shards may not repeat a tensor."""
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
    return list(by_name.values())


def _read_table(store: Store, name: str, metadata: dict[str, str]) -> tuple[TensorMeta, ...]:
    """The tensors of one file."""
    file = store.open(name)
    try:
        refuse_pointer(file)
        if name.endswith(".safetensors"):
            header = read_header(file)
            for key, value in header.metadata.items():
                metadata.setdefault(key, value)
            return header.tensors
        return read_pickle_table(file)
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
