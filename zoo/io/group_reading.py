"""The headers of files that are read together: one file, or the shards of an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.files import read_bytes
from zoo.io.hdf5 import read_hdf5_table
from zoo.io.header import MAX_HEADER_BYTES, TensorMeta, read_header
from zoo.io.index import Index, parse_index
from zoo.io.inventory import Group
from zoo.io.lfs import refuse_pointer
from zoo.io.numpy_files import read_numpy_table
from zoo.io.onnx_graph import read_onnx_table
from zoo.io.other_files import other_container
from zoo.io.pickles import read_pickle_table
from zoo.io.store import Store


@dataclass(frozen=True, slots=True)
class Indexes:
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


def read_group(
    store: Store, group: Group, index: Index | None, metadata: dict[str, str], buffers: set[str]
) -> list[TensorMeta]:
    """The tensors of a group in file order. Shards may not repeat a tensor.

    The strings of the headers go to `metadata`, the names of what a file shows to be no weights to `buffers`.
    """
    by_name: dict[str, TensorMeta] = {}
    for shard in index.shards if index else group.files:
        if shard not in store.files():
            named_by = f" named in {index.file}" if index else ""
            raise MissingShardError(
                f"shard {shard!r}{named_by} is not in {store.model_id}; fetch it again"
            )
        for tensor in _read_table(store, shard, metadata, buffers):
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


def _read_table(
    store: Store, name: str, metadata: dict[str, str], buffers: set[str]
) -> tuple[TensorMeta, ...]:
    """The tensors of one file."""
    file = store.open(name)
    try:
        refuse_pointer(file)
        if name.endswith(".safetensors"):
            header = read_header(file)
            for key, value in header.metadata.items():
                metadata.setdefault(key, value)
            return header.tensors
        container = other_container(name)
        if container == "hdf5":
            tensors, of_training = read_hdf5_table(file)
            buffers |= of_training
            return tensors
        if container == "numpy":
            return read_numpy_table(file)
        if container == "onnx":
            table = read_onnx_table(file, store.files())
            buffers |= table.buffers
            return table.tensors
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
