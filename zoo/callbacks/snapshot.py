"""The weights of a module, copied out once into a file in shared memory, as a folder that a sweep could read.

The file is made once and its memory kept, so that a snapshot is one copy of every tensor and nothing
else: no pages to fault in, no file to make, no bytes through Python.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from zoo.errors import ResourceError, UseError
from zoo.io.memory import plain

Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, safetensors code and shape of every tensor of a file, in its order."""


class Snapshot:
    """A folder with one model in it, written again for every snapshot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Has `model.safetensors` and perhaps `config.json`."""
        self._layout: Layout = ()
        self._views: list[torch.Tensor] = []
        """The places of the tensors in the file, in its order."""

    def write(self, module: torch.nn.Module, config: Mapping[str, object] | None) -> int:
        """Copy every tensor of the module's state; the bytes of the file.

        Nobody may be reading it. UseError for weights that are not here whole, ResourceError where
        there is no room.
        """
        tensors = weights_of(module)
        layout = tuple((name, code, shape) for name, code, shape, _ in tensors)
        path = self.folder / "model.safetensors"
        if layout != self._layout:
            self._views = []  # of another layout: let go of its memory before the new is taken
            self._views = _allocate(path, layout, [tensor for *_, tensor in tensors])
            self._layout = layout
        with torch.no_grad():
            for view, (*_, tensor) in zip(self._views, tensors, strict=True):
                if tensor.numel():
                    view.copy_(tensor)
        os.utime(path)  # writing through memory leaves the times of a file in memory as they are
        if config is not None:
            text = json.dumps(dict(config), indent=1, sort_keys=True, default=str)
            (self.folder / "config.json").write_text(text, encoding="utf-8")
        return os.stat(path).st_size


def weights_of(
    module: torch.nn.Module,
) -> list[tuple[str, str, tuple[int, ...], torch.Tensor]]:
    """(name, code, shape, tensor) of a module's state as its checkpoint would hold it: without wrappers,
    each tied tensor once, in the order of a safetensors file. UseError for a sharded module."""
    inner = unwrapped(module)
    state = inner.state_dict()
    refuse_shards(inner, state)
    again = _tied_names(inner)
    places: dict[tuple[object, ...], str] = {}
    for name in sorted(state, key=lambda name: name in again):
        tensor = state[name]
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.data_ptr() and tensor.numel():
            places.setdefault(place, name)
        else:
            places[(name,)] = name
    kept = set(places.values())
    listed = [
        (name.replace("_orig_mod.", ""), *plain(name, tensor))
        for name, tensor in state.items()
        if name in kept
    ]
    return sorted(listed, key=lambda item: (-item[3].element_size(), item[0]))


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The module inside DistributedDataParallel, DataParallel and `torch.compile`."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = getattr(module, "module", None)
        if not isinstance(inner, torch.nn.Module):
            return module
        module = inner


def refuse_shards(module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """UseError when this process holds only its share of the weights (FSDP, ZeRO-3, tensor parallel)."""
    how = None
    if any(type(m).__name__ == "FullyShardedDataParallel" for m in module.modules()):
        how = "FullyShardedDataParallel"
    elif any(hasattr(tensor, "full_tensor") for tensor in state.values()):
        how = "DTensor shards (FSDP2 or tensor parallel)"
    elif any(hasattr(parameter, "ds_id") for parameter in module.parameters()):
        how = "DeepSpeed ZeRO-3"
    if how is not None:
        raise UseError(
            f"got a {type(module).__name__} whose weights are spread over processes ({how}); wanted a "
            "process that holds them whole, as with DistributedDataParallel. Sweep the checkpoints that "
            "the training saves instead: `zoo sweep` with a step_pattern"
        )


def _tied_names(module: torch.nn.Module) -> frozenset[str]:
    """Names that transformers leaves out of a checkpoint, as they share another's weights."""
    tied = getattr(module, "_tied_weights_keys", None)
    return frozenset(map(str, tied)) if isinstance(tied, Iterable) else frozenset()


def _allocate(path: Path, layout: Layout, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """A new file of that layout with its header; the places of its tensors, in memory that is the file's."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for (name, code, shape), tensor in zip(layout, tensors, strict=True):
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    path.unlink(missing_ok=True)  # what another process still reads of the old one stays as it is
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, start + at)  # or a full disk would be a bus error later
        memory = mmap.mmap(handle, start + at)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ResourceError(
            f"no room for a snapshot of {start + at:,} bytes at {path.parent}: {error.strerror}; give "
            "another folder with scratch="
        ) from error
    finally:
        os.close(handle)
    memory[:start] = len(text).to_bytes(8, "little") + text
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    views: list[torch.Tensor] = []
    at = start
    for tensor in tensors:
        end = at + tensor.numel() * tensor.element_size()
        views.append(whole[at:end].view(tensor.dtype).view(tensor.shape))
        at = end
    return views
