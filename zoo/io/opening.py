"""From a store to a checkpoint: which files, which headers, one table of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from zoo.errors import CheckpointError
from zoo.io.checkpoint import Checkpoint
from zoo.io.configs import main_config, read_configs
from zoo.io.file_sets import base_name
from zoo.io.fingerprint import matters
from zoo.io.gguf_header import Value, read_gguf_header
from zoo.io.gguf_kinds import pick_gguf
from zoo.io.group_reading import Indexes, read_group
from zoo.io.header import TensorMeta
from zoo.io.inventory import Group, take_inventory
from zoo.io.left_out import AGAIN, LeftOut
from zoo.io.lfs import refuse_pointer
from zoo.io.nanotron import from_nanotron, is_slice_file, is_tensor_file
from zoo.io.paired import BASE, FOLDER, PairedStore
from zoo.io.reading import RangeReader
from zoo.io.slices import without_slices
from zoo.io.states import State, one_state
from zoo.io.states_within import states_within
from zoo.io.store import Store
from zoo.io.weight_files import is_training_tensor, unread_kind

_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
"""Keys under which a configuration names the width of the hidden state."""


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
    indexes = Indexes(store)
    inventory = take_inventory(
        sizes,
        where=store.model_id,
        modules=modules,
        components=configs.get("model_index.json", {}),
        shards_of=indexes.shards_of,
    )
    opened = _Opened(store, indexes, list(inventory.left_out), _widths(configs))
    are_parts = bool(configs.keys() & {"model_index.json", "modules.json"}) or bool(modules)
    opened.add_required([g for g in inventory.groups if not g.is_optional], are_parts=are_parts)
    for group in inventory.groups:
        if group.is_optional:
            opened.add_optional(group)
    if not opened.by_name:
        files = ", ".join(sorted(opened.files))
        raise CheckpointError(f"no weights in {files} of {store.model_id}; wanted tensors")
    left_out = [left for left in opened.left_out if left.file not in opened.files]
    left_out += [
        LeftOut(name, 0, reason)
        for name, reason in store.refused().items()
        if matters(name) or unread_kind(name)  # the card, and what may hold weights
    ]
    return Checkpoint(
        opened.by_name.values(),
        RangeReader(store),
        container=inventory.groups[0].container,
        configs=configs,
        component_configs={**opened.gguf_configs, **component_configs(configs)},
        metadata=opened.metadata,
        set_aside=opened.set_aside,
        left_out=tuple(sorted(left_out, key=lambda left: left.file)),
        files=sizes,
        buffers=opened.buffers,
    )


@dataclass(slots=True)
class _Opened:
    """What the groups read so far have given."""

    store: Store
    indexes: Indexes
    left_out: list[LeftOut]
    widths: frozenset[int]
    """Widths that the configuration names."""
    by_name: dict[str, TensorMeta] = field(default_factory=dict)
    """Tensors by the name they go by in the checkpoint."""
    kept: list[State] = field(default_factory=list)
    """Where they lie."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Why a tensor is no layer because another one holds the same, by name."""
    metadata: dict[str, str] = field(default_factory=dict)
    gguf_configs: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """The key-value pairs of GGUF files by prefix: the config where there is no config.json."""
    files: set[str] = field(default_factory=set)
    """Weight files that are read."""
    buffers: set[str] = field(default_factory=set)
    """Tensors that the file itself shows to be no weights."""

    def add_required(self, groups: Sequence[Group], *, are_parts: bool) -> None:
        """Read the headers of the groups that make up the model, and keep one state of it.

        With `are_parts` their folders are declared parts of one model.
        """
        read = [self._state(part) for group in groups for part in _one_by_one(group)]
        of_nanotron = [pair for pair in read if is_tensor_file(pair[0])]
        states = [state for state, _ in read if not is_tensor_file(state)]
        states = without_slices(states, self.widths) + from_nanotron(of_nanotron)
        kept, aside = one_state(states, are_parts=are_parts)
        headers = {file: strings for state, strings in read for file in state.files}
        for state in kept:
            for file in state.files:
                self._hear(headers[file])
            self._keep(state)
        sizes = self.store.files()
        for state, reason in aside:
            self.left_out += [LeftOut(file, sizes[file], reason) for file in state.files]

    def add_optional(self, group: Group) -> None:
        """Read the headers of a group that is left out when it is a second copy."""
        if group.container == "gguf":
            self._leave(group, "GGUF files of another folder than the weights that are read")
            return
        try:
            state, metadata = self._state(group)
        except CheckpointError as error:
            self._leave(group, f"in a folder apart, and it cannot be read: {error}")
            return
        cores = {core for other in self.kept for core in other.matrices}
        if state.is_again(cores):
            twin = next(t.name for core, t in state.matrices.items() if core in cores)
            self._leave(group, f"holds {twin!r} again, which is read from another container")
        else:
            self._hear(metadata)
            self._keep(state)

    def _state(self, group: Group) -> tuple[State, dict[str, str]]:
        """(what a group holds, the strings of its headers)."""
        metadata: dict[str, str] = {}
        tensors = tuple(self._tensors(group, metadata))
        files = tuple(dict.fromkeys((*group.files, *(t.file for t in tensors))))
        return State(group.prefix, files[0] if files else group.prefix, files, tensors), metadata

    def _hear(self, metadata: Mapping[str, str]) -> None:
        """Take the strings of a header; of two with one key the first counts."""
        for key, value in metadata.items():
            self.metadata.setdefault(key, value)

    def _keep(self, state: State) -> None:
        self.files |= set(state.files)
        self.kept.append(state)
        once = [tensor for tensor in state.tensors if tensor.name not in state.aside]
        aside = {**states_within(once), **state.aside}
        stem = base_name(state.name).rpartition(".")[0]
        for tensor in state.tensors:
            reason = aside.get(tensor.name)
            if is_training_tensor(tensor.name):  # its name may get a prefix that hides it
                reason = "training state: not a weight"
            name = state.prefix + tensor.name
            twin = self.by_name.get(name)
            if twin is not None:
                _check_twin(tensor, twin)
                name = f"{state.prefix}{stem}.{tensor.name}"
                reason = f"{AGAIN}tensor of this name (that of {twin.file} is measured)"
            if name in self.by_name:
                raise CheckpointError(
                    f"{self.by_name[name].file} and {tensor.file} both give {name!r}; wanted it "
                    "once. Name the file to use"
                )
            self.by_name[name] = replace(tensor, name=name)
            if reason is not None:
                self.set_aside[name] = reason

    def _leave(self, group: Group, reason: str) -> None:
        names = [*group.files, *(f for s in group.candidates for f in s.files)]
        if group.index is not None:
            shards = self.indexes.shards_of(group.index) or ()
            names += [group.index, *(shard for shard in shards if shard in self.store.files())]
        self.left_out += [LeftOut(name, self.store.files()[name], reason) for name in names]

    def _tensors(self, group: Group, metadata: dict[str, str]) -> list[TensorMeta]:
        """The tensors of a group in file order, under their names in the files.

        The strings of their headers go to `metadata`.
        """
        if group.container == "gguf":
            return self._gguf_tensors(group, metadata)
        index = None if group.index is None else self.indexes.read(group.index)
        return read_group(self.store, group, index, metadata, self.buffers)

    def _gguf_tensors(self, group: Group, metadata: dict[str, str]) -> list[TensorMeta]:
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
        self.gguf_configs[group.prefix] = pairs
        metadata.update({k: v for k, v in pairs.items() if isinstance(v, str)})
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


def _check_twin(tensor: TensorMeta, twin: TensorMeta) -> None:
    """Two tensors of one name in files that share little else: of one shape, or a failure."""
    if tensor.shape != twin.shape:
        raise CheckpointError(
            f"tensor {tensor.name!r} is {list(twin.shape)} in {twin.file} and {list(tensor.shape)} "
            f"in {tensor.file}: several models; wanted one. Name the file to use"
        )


def _one_by_one(group: Group) -> list[Group]:
    """The group, or each file of it where every file holds one tensor of the same name."""
    if group.files and all(is_slice_file(name) for name in group.files):
        return [replace(group, files=(name,)) for name in group.files]
    return [group]


def _widths(configs: Mapping[str, Mapping[str, object]]) -> frozenset[int]:
    """Width of the hidden state, and of all heads together, that config.json tells."""
    config = main_config(configs, "")
    widths = {n for key in _WIDTHS if type(n := config.get(key)) is int}
    heads, size = (config.get(key) for key in ("num_attention_heads", "head_dim"))
    if type(heads) is int and type(size) is int:
        widths.add(heads * size)
    return frozenset(widths)


def _module_folders(listing: Mapping[str, object]) -> list[str]:
    """Subfolders that a sentence-transformers `modules.json` counts as parts of the model."""
    modules = listing.get("modules")
    if not isinstance(modules, list):
        return []
    paths = [m.get("path") for m in modules if isinstance(m, dict)]
    return [p for p in paths if isinstance(p, str) and p]
