"""A checkpoint of tensors that are already in memory: the Python API's way in."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from zoo.errors import UseError
from zoo.io.checkpoint import Checkpoint
from zoo.io.configs import main_config
from zoo.io.header import RowRange, TensorMeta
from zoo.io.states_within import states_within
from zoo.io.tensors import dtype_code

_HANDED_OUT_AS_BYTES = {"float8_e8m0fnu": ("F8_E8M0", 1), "float4_e2m1fn_x2": ("F4", 2)}
"""Types that `as_tensor` gives as raw uint8: safetensors code and values a byte."""


def memory_checkpoint(
    weights: torch.nn.Module | Mapping[str, torch.Tensor],
    config: Mapping[str, object] | None = None,
) -> Checkpoint:
    """A module's or state dict's tensors as a checkpoint; shares their memory.

    Tensors that share storage get the same byte range, as tied tensors in a file would.
    UseError for a value that is no dense tensor.
    """
    state: object = weights
    buffers: list[str] = []
    if isinstance(weights, torch.nn.Module):
        state = weights.state_dict()
        buffers = [name for name, _ in weights.named_buffers(remove_duplicate=False)]
    if not isinstance(state, Mapping):
        raise UseError(
            f"got a {type(weights).__name__}; wanted a path, a Hub id, a state dict (names to tensors) "
            "or a torch module. One matrix: {'name.weight': tensor}"
        )
    by_name: dict[str, torch.Tensor] = {}
    metas: list[TensorMeta] = []
    places: dict[tuple[object, ...], int] = {}
    at = 0
    for name, tensor in state.items():
        code, shape, by_name[name] = plain(name, tensor)
        num_bytes = tensor.numel() * tensor.element_size()
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        start = places.setdefault(place, at) if num_bytes and tensor.data_ptr() else at
        if start == at:
            at += num_bytes
        metas.append(TensorMeta(name, code, shape, "memory", start, start + num_bytes))
    if config is not None and not isinstance(config, Mapping):
        raise UseError(
            f"config: got a {type(config).__name__}; wanted a mapping, as in config.json"
        )
    own = main_config({"config.json": dict(config or {})}, "")
    return Checkpoint(
        metas,
        MemoryReader(by_name),
        container="memory",
        configs={"config.json": own},
        component_configs={"": own},
        set_aside=states_within(metas),
        buffers=buffers,
    )


class MemoryReader:
    """See `Reader`; hands out copies on the CPU, so that the caller owns what it gets."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def read(self, meta: TensorMeta, rows: RowRange | None) -> torch.Tensor:
        """See `Reader.read`."""
        tensor = self._tensors[meta.name]
        if rows is not None:
            first, last = rows
            if not tensor.ndim or not 0 <= first <= last <= tensor.shape[0]:
                raise IndexError(f"rows {rows} of a tensor of shape {list(meta.shape)}")
            tensor = tensor[first:last]
        return tensor.detach().to("cpu", copy=True).contiguous()

    def expect(self, metas: tuple[TensorMeta, ...]) -> None:
        """Nothing to fetch."""

    def close(self) -> None:
        """See `Reader.close`."""
        self._tensors = {}


def plain(name: str, tensor: object) -> tuple[str, tuple[int, ...], torch.Tensor]:
    """Code, logical shape and the tensor, as uint8 where `as_tensor` would give that."""
    if not isinstance(name, str):
        raise UseError(f"got a tensor under {name!r}; wanted names: text such as 'fc.weight'")
    if isinstance(tensor, Mapping):
        raise UseError(
            f"{name!r} is a {type(tensor).__name__}, not a tensor; if it is the state dict, pass it "
            f"alone: checkpoint[{name!r}]"
        )
    if not isinstance(tensor, torch.Tensor):
        hint = ": torch.from_numpy(...)" if type(tensor).__module__ == "numpy" else ""
        raise UseError(f"{name!r} is a {type(tensor).__name__}; wanted a dense torch.Tensor{hint}")
    if tensor.layout != torch.strided:
        raise UseError(
            f"{name!r} is a tensor of layout {tensor.layout}; wanted a dense one: .to_dense()"
        )
    if tensor.is_meta:
        raise UseError(f"{name!r} is on the meta device and has no values; load the weights first")
    code = dtype_code(tensor.dtype)
    if code is not None:
        return code, tuple(tensor.shape), tensor
    as_bytes = _HANDED_OUT_AS_BYTES.get(str(tensor.dtype).removeprefix("torch."))
    if as_bytes is None:
        raise UseError(f"{name!r} has dtype {tensor.dtype}; wanted one that safetensors can hold")
    code, per_byte = as_bytes
    shape = tuple(tensor.shape)
    if per_byte > 1 and shape:
        shape = (*shape[:-1], shape[-1] * per_byte)
    return code, shape, tensor.view(torch.uint8)
