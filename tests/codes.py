"""What tests of decoders share: a quantised weight with its true values, and ways to damage it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from hypothesis import settings
from hypothesis import strategies as st

from zoo.errors import DecodeError
from zoo.formats.account import account
from zoo.formats.weight import Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.memory import memory_checkpoint


def dense_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes [n, k] as int32 words [n·bits/32, k]: a stream of bits along the first axis, low first."""
    digits = (codes[:, None] >> torch.arange(bits)[:, None]) & 1
    stream = digits.reshape(-1, codes.shape[1])
    padding = -len(stream) % 32
    stream = torch.cat([stream, stream.new_zeros(padding, codes.shape[1])])
    words = (stream.reshape(-1, 32, codes.shape[1]).long() << torch.arange(32)[:, None]).sum(1)
    return words.to(torch.int32)


MANY = settings(max_examples=60, deadline=None)
"""How property tests of decoders run; `deadline=None` because the machine may be busy."""


@dataclass(frozen=True)
class Quantised:
    """One weight as its format stores it."""

    state: Mapping[str, torch.Tensor]
    expected: torch.Tensor
    """Its values, from the defining library or from an oracle."""
    decoder: str
    name: str = "a.weight"
    config: Mapping[str, object] = field(default_factory=dict)
    """The `quantization_config`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The header's."""
    unused: tuple[str, ...] = ()
    """Tensors that belong to the weight, but that decoding does not need."""
    rtol: float = 0.0

    def checkpoint(self, state: Mapping[str, torch.Tensor] | None = None) -> Checkpoint:
        """It, or `state` in its place, as a checkpoint."""
        config = {"quantization_config": self.config} if self.config else {}
        made = memory_checkpoint(self.state if state is None else state, config)
        made.metadata = MappingProxyType(dict(self.metadata))
        return made


def assert_decodes(stored: Quantised) -> Weight:
    """One weight with the expected values; of a part of its rows too; nothing is left unexplained."""
    checkpoint = stored.checkpoint()
    made = account(checkpoint)
    assert {entry.fate for entry in made.entries} <= {"analysed", "companion"}, made.entries
    (weight,) = made.weights
    values = weight.load(checkpoint)
    assert (weight.name, weight.decoder) == (stored.name, stored.decoder)
    assert values.dtype == torch.float32
    assert tuple(values.shape) == weight.shape == tuple(stored.expected.shape)
    torch.testing.assert_close(values, stored.expected.float(), rtol=stored.rtol, atol=0)
    middle = (weight.shape[0] // 3, weight.shape[0])
    assert torch.equal(weight.load(checkpoint, middle), values[middle[0] :])
    assert set(weight.sources) == set(stored.state) - set(stored.unused)
    return weight


def reason(stored: Quantised, state: Mapping[str, torch.Tensor] | None = None) -> str:
    """Why the weight cannot be decoded, from the account or at reading; empty when it can."""
    checkpoint = stored.checkpoint(state)
    made = account(checkpoint)
    unknown = [entry.reason or "" for entry in made.entries if entry.fate == "unknown"]
    if unknown:
        return unknown[0]
    try:
        for weight in made.weights:
            weight.load(checkpoint)
    except DecodeError as error:
        return str(error)
    return ""


DAMAGES = ("lost", "renamed", "cut", "longer", "flat", "transposed", "another type")


@dataclass(frozen=True)
class Damage:
    """What happens to one tensor."""

    kind: str
    name: str
    axis: int
    dtype: torch.dtype

    def of(self, stored: Quantised) -> dict[str, torch.Tensor]:
        """The state, damaged. What would leave type and shape as they are loses the tensor."""
        state = dict(stored.state)
        tensor = state.pop(self.name)
        damaged = self._tensor(tensor)
        if damaged is not None and (damaged.shape, damaged.dtype) != (tensor.shape, tensor.dtype):
            state[self.name] = damaged
        elif self.kind == "renamed":
            state[f"{self.name}_old"] = tensor
        return state

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor | None:
        axis = self.axis % max(tensor.ndim, 1)
        is_byte = tensor.dtype.itemsize == 1
        if self.kind == "cut" and tensor.ndim:
            return tensor.narrow(axis, 0, tensor.shape[axis] - 1).contiguous()
        if self.kind == "longer" and tensor.ndim:
            raw = tensor.view(torch.uint8) if is_byte else tensor
            return torch.cat([raw, raw.narrow(axis, 0, 1)], axis).view(tensor.dtype)
        if self.kind == "flat":
            return tensor.reshape(-1)
        if self.kind == "transposed" and tensor.ndim >= 2:
            return tensor.mT.contiguous()
        if self.kind == "another type":
            is_bits = tensor.dtype == torch.uint32
            return (tensor.view(torch.int32) if is_bits else tensor).to(self.dtype)
        return None


def damages(stored: Quantised, kinds: tuple[str, ...] = DAMAGES) -> st.SearchStrategy[Damage]:
    """Any one damage to any one tensor."""
    types = st.sampled_from([torch.int64, torch.float32, torch.int8, torch.uint8])
    names = st.sampled_from(sorted(stored.state))
    return st.builds(Damage, st.sampled_from(kinds), names, st.integers(0, 3), types)


def assert_is_noticed(damage: Damage, stored: Quantised) -> None:
    """A damaged weight gives a reason, or the very same values; never others, never a traceback.

    Codes alone that are cut or longer and still fit all that lies beside them are another weight.
    """
    state = damage.of(stored)
    if reason(stored, state):
        return
    checkpoint = stored.checkpoint(state)
    for weight in account(checkpoint).weights:
        if weight.name == stored.name:
            values = weight.load(checkpoint)
            if weight.sources[0] == damage.name and weight.shape != tuple(stored.expected.shape):
                continue
            assert tuple(values.shape) == tuple(stored.expected.shape)
            torch.testing.assert_close(values, stored.expected.float(), rtol=stored.rtol, atol=0)
        else:
            assert sum(size > 1 for size in weight.shape) < 2, f"{weight.name} is no layer"
