"""torchao's tensor subclasses, saved as transformers saves them, against torchao's own values."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.codes import (
    MANY,
    Quantised,
    assert_decodes,
    assert_is_noticed,
    damages,
    reason,
)
from zoo.formats.account import account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its compiled kernels, which other machines have
    from torchao.prototype.mx_formats.mx_tensor import MXTensor
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import (
        Float8Tensor,
        Int8Tensor,
        IntxUnpackedToInt8Tensor,
        MappingType,
        PerGroup,
        PerRow,
        PerTensor,
    )

CONFIG = {"quant_method": "torchao"}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def saved(weight: torch.Tensor, decoder: str) -> Quantised:
    """A tensor subclass as transformers saves it; torchao says what it is worth."""
    state, metadata = flatten_tensor_state_dict({"a.weight": weight})
    expected = weight.dequantize(torch.float32)
    return Quantised(state, expected, decoder, config=CONFIG, metadata=metadata)


def float8(shape: tuple[int, ...], per: object, *, kind: torch.dtype) -> Quantised:
    weight = Float8Tensor.from_hp(normal(*shape), float8_dtype=kind, granularity=per)
    return saved(weight, "torchao_float8")


def int8(shape: tuple[int, ...], per: object, *, symmetric: bool) -> Quantised:
    mapping = MappingType.SYMMETRIC if symmetric else MappingType.ASYMMETRIC
    weight = Int8Tensor.from_hp(normal(*shape) + 0.3, granularity=per, mapping_type=mapping)
    return saved(weight, "torchao_int8")


def intx(shape: tuple[int, int], size: int, bits: int) -> Quantised:
    weight = IntxUnpackedToInt8Tensor.from_hp(
        normal(*shape) + 0.3, (1, size), getattr(torch, f"int{bits}"),
        mapping_type=MappingType.ASYMMETRIC,
    )  # fmt: skip
    state, metadata = flatten_tensor_state_dict({"a.weight": weight})
    return Quantised(state, weight.dequantize(), "torchao_int8", config=CONFIG, metadata=metadata)


SIZES = st.sampled_from([8, 32, 64])
PER = st.one_of(st.just(PerRow()), st.just(PerTensor()), st.builds(PerGroup, SIZES))


@MANY
@given(st.integers(1, 70), st.integers(1, 3), PER, st.data())
def test_eight_bit_floats_match_torchao(
    num_out: int, num_groups: int, per: object, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from([torch.float8_e4m3fn, torch.float8_e5m2]))
    per = PerRow() if isinstance(per, PerGroup) else per
    stored = float8((num_out, 64 * num_groups), per, kind=kind)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@MANY
@given(st.integers(1, 70), st.integers(1, 3), PER, st.booleans(), st.data())
def test_eight_bit_integers_match_torchao(
    num_out: int, num_groups: int, per: object, symmetric: bool, data: st.DataObject
) -> None:
    stored = int8((num_out, 64 * num_groups), per, symmetric=symmetric)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@MANY
@given(st.integers(1, 40), st.integers(1, 4), SIZES, st.integers(1, 8), st.data())
def test_fewer_bits_match_torchao(
    num_out: int, num_groups: int, size: int, bits: int, data: st.DataObject
) -> None:
    stored = intx((num_out, size * num_groups), size, bits)
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def test_a_stack_of_experts_is_decoded_one_by_one() -> None:
    assert_decodes(float8((3, 8, 64), PerRow(), kind=torch.float8_e4m3fn))
    assert_decodes(int8((3, 8, 64), PerTensor(), symmetric=True))


@MANY
@given(st.integers(1, 3), st.integers(1, 150), st.integers(1, 9), st.booleans(), st.data())
def test_nvfp4_matches_torchao(
    num_experts: int, num_out: int, num_groups: int, swizzled: bool, data: st.DataObject
) -> None:
    shape = (num_out, 16 * num_groups)
    shape = shape if num_experts == 1 else (num_experts, *shape)
    overall = data.draw(st.sampled_from([None, torch.tensor(0.02)]))
    weight = NVFP4Tensor.to_nvfp4(
        normal(*shape), per_tensor_scale=overall,
        is_swizzled_scales=swizzled and num_experts == 1,
    )  # fmt: skip
    stored = saved(weight, "torchao_nvfp4")
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


@MANY
@given(st.integers(1, 150), st.integers(1, 5), st.booleans(), st.data())
def test_microscaling_matches_torchao(
    num_out: int, num_groups: int, swizzled: bool, data: st.DataObject
) -> None:
    kinds = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float4_e2m1fn_x2)
    kind = data.draw(st.sampled_from(kinds))
    weight = MXTensor.to_mx(normal(num_out, 32 * num_groups), kind, is_swizzled_scales=swizzled)
    stored = saved(weight, "torchao_mx")
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def described(kind: str, parts: list[str], **attributes: object) -> dict[str, str]:
    """The header's metadata for one weight."""
    said = {"_type": kind, "_data": attributes, "_tensor_data_names": parts}
    return {"a.weight": json.dumps(said), "tensor_names": '["a.weight"]'}


@MANY
@given(st.integers(1, 30), st.integers(1, 4), SIZES, st.data())
def test_four_bit_integers_match_their_definition(
    num_out: int, num_groups: int, size: int, data: st.DataObject
) -> None:
    """`Int4Tensor`: torchao makes it only on a GPU, and never dequantises it."""
    num_in = size * num_groups
    codes = torch.randint(-8, 8, (num_out, num_in), generator=torch.Generator().manual_seed(1))
    scale, zero = normal(num_groups, num_out, seed=2), normal(num_groups, num_out, seed=3)
    expected = torch.empty(num_out, num_in)
    for i in range(num_out):
        for j in range(num_in):
            expected[i, j] = codes[i, j] * scale[j // size, i] + zero[j // size, i]
    stored = Quantised(
        {
            "a._weight_qdata": (codes[:, ::2] & 15 | codes[:, 1::2] << 4).to(torch.int8),
            "a._weight_scale": scale,
            "a._weight_zero_point": zero,
        },
        expected,
        "torchao_int4",
        config=CONFIG,
        metadata=described(
            "Int4Tensor", ["qdata", "scale", "zero_point"],
            block_size=[1, size], shape=[num_out, num_in],
        ),
        rtol=1e-6,
    )  # fmt: skip
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def tiles(codes: torch.Tensor, inner: int) -> torch.Tensor:
    """`_convert_weight_to_int4pack` of PyTorch's int4mm.cu, one thread a time."""
    num_out, num_in = codes.shape
    packed = torch.zeros(num_out // 8, num_in // (16 * inner), 32, inner // 2, dtype=torch.int64)
    for tile in range(packed.shape[0]):
        for outer in range(packed.shape[1]):
            for lane in range(32):
                for k in range(0, inner, 2):
                    row = codes[8 * tile + lane // 4]
                    start = (outer * inner + k) * 16 + 2 * (lane % 4)
                    pairs = [row[start + at : start + at + 2] for at in (0, 8, 16, 24)]
                    word = sum(int(pair[0]) << 4 * i for i, pair in enumerate(pairs))
                    word |= sum(int(pair[1]) << 4 * i + 16 for i, pair in enumerate(pairs))
                    packed[tile, outer, lane, k // 2] = word
    return packed.to(torch.int32)


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 1024), 128), ((13, 900), 32), ((16, 2000), 64), ((3, 1), 256)]
)
def test_tiles_match_their_definition(shape: tuple[int, int], size: int) -> None:
    num_out, num_in = -(-shape[0] // 8) * 8, -(-shape[1] // 1024) * 1024
    codes = torch.randint(0, 16, (num_out, num_in), generator=torch.Generator().manual_seed(1))
    grid = normal(num_in // size, num_out, 2, seed=2).bfloat16()
    scale, zero = (g.float().repeat_interleave(size, 0).T for g in grid.unbind(-1))
    stored = Quantised(
        {"a._weight_qdata": tiles(codes, 8), "a._weight_scale_and_zero": grid},
        ((codes - 8) * scale + zero)[: shape[0], : shape[1]],
        "torchao_int4_tiles",
        config=CONFIG,
        metadata=described(
            "Int4TilePackedTo4dTensor", ["qdata", "scale_and_zero"],
            block_size=[1, size], shape=list(shape),
        ),
        rtol=1e-6,
    )  # fmt: skip
    assert_decodes(stored)
    for name, tensor in stored.state.items():
        for broken in (tensor[:-1], tensor.flatten(), tensor.to(torch.int64)):
            assert reason(stored, {**stored.state, name: broken.contiguous()})


def test_files_without_metadata_are_read_where_types_and_shapes_suffice(tmp_path: Path) -> None:
    eights = int8((16, 64), PerRow(), symmetric=True)
    floats = float8((16, 64), PerRow(), kind=torch.float8_e4m3fn)
    files = {f"x{name}": tensor for name, tensor in floats.state.items()}
    save_file({**eights.state, **files}, tmp_path / "model.safetensors")
    with open_checkpoint(LocalLocation.of(tmp_path).open()) as checkpoint:
        values = {w.name: w.load(checkpoint) for w in account(checkpoint).weights}
    assert torch.equal(values["a.weight"], eights.expected)
    assert torch.equal(values["xa.weight"], floats.expected)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a.weight": "{"}, "metadata of a.weight"),
        ({"a.weight": '{"_type": "Tensor"}'}, "names no _type with _data"),
        (described("Int4PreshuffledTensor", []), "Int4PreshuffledTensor, which no decoder reads"),
        (described("Int8Tensor", [], block_size=[1, 32]), "blocks of \\[1, 64\\]"),
        (described("Int8Tensor", ["qdata", "rotation"]), "no tensor 'a._weight_rotation'"),
    ],
)
def test_metadata_that_does_not_fit_is_a_reason(metadata: dict[str, str], message: str) -> None:
    state = int8((16, 64), PerRow(), symmetric=True).state
    stored = Quantised(state, torch.zeros(1), "", config=CONFIG, metadata=metadata)
    told = reason(stored)
    assert re.search(message, told), told
