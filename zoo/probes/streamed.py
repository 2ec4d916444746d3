"""Networks larger than the memory there is: one block resident at a time, read again whenever it runs.

The module is made without weights. What lies outside its blocks (embeddings, norms, head) is loaded and
stays; a block is loaded when its forward begins and dropped when it ends. Every pass reads the blocks
that run in it again, so a probe is as slow as the source is; its values are those of the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from zoo.probes.network import Network, UnprobeableError
from zoo.probes.options import Position
from zoo.probes.transformer import class_of, library, network_of, silent

Readers = Mapping[str, Callable[[], torch.Tensor]]
"""Tensors by their names in the file, each read and decoded when it is called."""

_PASS_BYTES = 1 << 30
"""Most bytes of the largest output of a joint pass: fewer passes read the blocks less often."""


@dataclass(slots=True)
class Stream:
    """The blocks of one module, and where their weights come from."""

    module: Any
    readers: Readers
    device: torch.device
    blocks: dict[str, torch.nn.Module] = field(default_factory=dict)
    """By qualified name."""
    sources: dict[str, list[str]] = field(default_factory=dict)
    """Names in the file, by block; those outside under the empty name."""
    resident_bytes: int = 0
    """Weights in memory now."""
    most_bytes: int = 0
    """Most that were in memory at a time."""

    @contextmanager
    def loaded(self, name: str) -> Iterator[None]:
        """Inside, the block has its weights."""
        block = self.blocks[name]
        empty = [
            (part, key, value)
            for part in block.modules()
            for key, value in part._parameters.items()
            if value is not None and value.is_meta
        ]
        if not empty:  # somebody around us loaded it
            yield
            return
        nbytes = self.load(name)
        try:
            yield
        finally:
            for part, key, value in empty:
                part._parameters[key] = value
            self.resident_bytes -= nbytes

    def load(self, name: str) -> int:
        """Fill a block, or what lies outside all of them; the bytes of its weights.

        UnprobeableError where the file does not hold them all.
        """
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        dtype = self.module.config.dtype
        settings = LoadStateDictConfig(
            dtype=dtype,
            dtype_plan=self.module._get_dtype_plan(dtype),
            weight_mapping=cast(Any, get_model_conversion_mapping(self.module)),
        )
        state = {source: self.readers[source]() for source in self.sources.get(name, ())}
        with silent(library()):
            told, _ = convert_and_load_state_dict_in_model(self.module, state, settings)
        if told.mismatched_keys or told.conversion_errors or told.error_msgs:
            odd = [*told.mismatched_keys, *told.conversion_errors, *told.error_msgs][0]
            raise UnprobeableError(f"{type(self.module).__name__} does not take {odd}")
        parts = self._parts(name)
        if not name:
            self.module.tie_weights()
        missing = [
            key
            for key, value in parts.named_parameters()
            if value.is_meta and not self._is_in_a_block(key, name)
        ]
        if missing:
            raise UnprobeableError(
                f"{len(missing)} tensors of {type(self.module).__name__} are not in the checkpoint, such as "
                f"{missing[0]}; wanted a checkpoint whose names fit its architecture"
            )
        return self._place(name, parts)

    def _parts(self, name: str) -> torch.nn.Module:
        return self.blocks[name] if name else self.module

    def _is_in_a_block(self, key: str, name: str) -> bool:
        return not name and any(key.startswith(f"{block}.") for block in self.blocks)

    def _place(self, name: str, parts: torch.nn.Module) -> int:
        """Move what was loaded to the device; its bytes."""
        nbytes = 0
        for parameter in parts.parameters():
            parameter.requires_grad_(False)
            if not parameter.is_meta:
                parameter.data = parameter.data.to(self.device)
                nbytes += parameter.nbytes
        for part in parts.modules():
            for key, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[key] = buffer.to(self.device)
        self.resident_bytes += nbytes
        self.most_bytes = max(self.most_bytes, self.resident_bytes)
        return nbytes


def streamed(
    config: Mapping[str, Any],
    readers: Readers,
    *,
    device: torch.device,
    limit_bytes: float,
    length: int | None = None,
    position: Position = "last",
) -> Network:
    """The network that `config` names, its blocks read from `readers` as they run.

    UnprobeableError where transformers knows no such architecture, where it has no list of blocks, and where
    all outside the blocks and the largest block together are more than `limit_bytes`.
    """
    try:
        from transformers.core_model_loading import rename_source_key
        from transformers.initialization import no_init_weights
    except ImportError as error:
        raise UnprobeableError(f"streaming block by block needs transformers 5: {error}") from error
    _, network_class, built = class_of(config)
    transformers = library()
    dtype = getattr(built, "dtype", None) or next(iter(readers.values()))().dtype
    with silent(transformers), no_init_weights(), _without_weights():
        module = network_class._from_config(built, dtype=dtype)
    stream = Stream(module, readers, device, _blocks(module))
    mapping = _mapping(module)
    keys = module.state_dict()
    for source in readers:
        renamed, _ = rename_source_key(source, *mapping, module.base_model_prefix, keys)
        if renamed not in keys and source in keys:
            renamed = source
        block = next((name for name in stream.blocks if renamed.startswith(f"{name}.")), "")
        stream.sources.setdefault(block, []).append(source)
    _check_size(module, stream, limit_bytes)
    stream.load("")
    for name, part in stream.blocks.items():
        part.__dict__["forward"] = _loading(stream, name, part.forward)
    network = network_of(module, config, built, length=length, position=position)
    return replace(network, stream=stream, pass_bytes=_PASS_BYTES)


def _loading(stream: Stream, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        with stream.loaded(name):
            return own(*args, **kwargs)

    return forward


def _blocks(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The entries of the outermost lists of modules."""
    blocks: dict[str, torch.nn.Module] = {}
    for name, part in module.named_modules():
        inside = any(name.startswith(f"{block}.") for block in blocks)
        if isinstance(part, torch.nn.ModuleList) and len(part) > 1 and not inside:
            blocks |= {f"{name}.{number}": block for number, block in enumerate(part)}
    return blocks


def _mapping(module: Any) -> tuple[list[Any], list[Any]]:
    """(renamings, converters) from names in files to those of the module."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming

    every = get_model_conversion_mapping(module)
    return (
        [one for one in every if isinstance(one, WeightRenaming)],
        [one for one in every if isinstance(one, WeightConverter)],
    )


def _check_size(module: torch.nn.Module, stream: Stream, limit_bytes: float) -> None:
    largest = max((_nbytes(block.parameters()) for block in stream.blocks.values()), default=0)
    inside = {id(p) for block in stream.blocks.values() for p in block.parameters()}
    outside = _nbytes([p for p in module.parameters() if id(p) not in inside])
    # the block's tensors as they are read, and as the network holds them
    need = outside + 2 * largest
    if not stream.blocks or need > limit_bytes:
        raise UnprobeableError(
            f"memory: one block at a time, the network needs about {need / 2**30:.1f} GiB beside its "
            f"activations, there are {limit_bytes / 2**30:.1f}; probe it on a larger machine"
        )


def _nbytes(parameters: Sequence[torch.Tensor] | Iterator[torch.Tensor]) -> int:
    return sum(parameter.nbytes for parameter in parameters)


@contextmanager
def _without_weights() -> Iterator[None]:
    """Inside, modules are made without memory for their parameters; buffers are real."""
    own = torch.nn.Module.register_parameter

    def register(self: torch.nn.Module, name: str, param: torch.nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = torch.nn.Parameter(param.to("meta"), requires_grad=False)
        own(self, name, param)

    # assigned to the class: every kind of module is made through it
    torch.nn.Module.register_parameter = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = own  # type: ignore[method-assign]
