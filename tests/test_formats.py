"""Each quantised format against its defining library, or a slow oracle written from its definition.

Fixtures are made here, so that a change of the library's layout is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from zoo.formats.account import account
from zoo.formats.bits import E8M0, unpack_words
from zoo.formats.weight import Account, Weight
from zoo.io.memory import memory_checkpoint

Config = Mapping[str, object]
GPTQ: Config = {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed))


def whole(high: int, *shape: int, dtype: torch.dtype = torch.uint8, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=seeded(seed)).to(dtype)


def accounted(state: Mapping[str, torch.Tensor], config: Config | None = None) -> Account:
    found = account(memory_checkpoint(state, {"quantization_config": config} if config else {}))
    assert [entry.tensor for entry in found.entries] == list(state)
    return found


def decoded(
    state: Mapping[str, torch.Tensor], config: Config | None = None
) -> tuple[Weight, torch.Tensor]:
    """The only weight of a checkpoint and its values; nothing may be left unexplained."""
    checkpoint = memory_checkpoint(state, {"quantization_config": config} if config else {})
    found = account(checkpoint)
    assert {entry.fate for entry in found.entries} <= {"analysed", "companion", "skipped"}
    (weight,) = found.weights
    values = weight.load(checkpoint)
    assert tuple(values.shape) == weight.shape
    assert weight.is_dequantised
    middle = (1, weight.shape[0] - 1)
    assert torch.equal(weight.load(checkpoint, middle), values[1:-1])
    return weight, values


def pack_bits(codes: np.ndarray, bits: int) -> torch.Tensor:
    """Codes [n, k] packed along the first axis into int32 words, low bits first, one bit a time."""
    num, width = codes.shape
    words = np.zeros((-(-num * bits // 32), width), dtype=np.uint32)
    for i in range(num):
        for bit in range(bits):
            at = i * bits + bit
            words[at // 32] |= ((codes[i].astype(np.uint32) >> bit) & 1) << (at % 32)
    return torch.from_numpy(words.view(np.int32))


# FP8


@pytest.mark.parametrize("shape", [(256, 384), (576, 300), (64, 130), (1, 1)])
def test_fp8_with_a_grid_of_scales_matches_the_loop(shape: tuple[int, int]) -> None:
    rows, cols = shape
    weight = normal(rows, cols).to(torch.float8_e4m3fn)
    scale = normal(-(-rows // 128), -(-cols // 128), seed=2).abs()
    plain, grid = weight.float().numpy(), scale.numpy()
    expected = np.array(
        [[plain[i, j] * grid[i // 128, j // 128] for j in range(cols)] for i in range(rows)]
    )
    found, values = decoded(
        {"a.weight": weight, "a.weight_scale_inv": scale},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    )
    assert found.decoder == "fp8_block"
    assert np.array_equal(values.numpy(), expected)


def test_fp8_blocks_match_transformers() -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    weight = normal(256, 384).to(torch.float8_e4m3fn)
    scale = normal(2, 3, seed=2).abs()
    _, values = decoded(
        {"a.weight": weight, "a.weight_scale_inv": scale},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    )
    expected = Fp8Dequantize(None)._dequantize_one(weight, scale, output_dtype=torch.float32)
    assert torch.equal(values, expected)


@pytest.mark.parametrize("kind", ["U8", "F8_E8M0"])
def test_scales_may_be_exponents(kind: str) -> None:
    weight = normal(256, 384).to(torch.float8_e4m3fn)
    exponents = whole(20, 2, 3) + 117
    scale = exponents.view(torch.float8_e8m0fnu) if kind == "F8_E8M0" else exponents
    _, values = decoded(
        {"a.weight": weight, "a.weight_scale_inv": scale},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    )
    factors = 2.0 ** (exponents.float() - 127)
    grid = factors.repeat_interleave(128, 0).repeat_interleave(128, 1)
    assert torch.equal(values, weight.float() * grid)


@pytest.mark.parametrize("shape", [(), (1,), (48,), (48, 1), (1, 40)])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_scales_per_tensor_and_per_channel(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = normal(48, 40).to(dtype)
    scale = normal(*shape, seed=3).abs() + 0.1
    found, values = decoded(
        {"a.weight": weight, "a.weight_scale": scale, "a.input_scale": torch.tensor(1.0)},
        {"quant_method": "modelopt"},
    )
    column = scale[:, None] if shape == (48,) else scale
    assert found.decoder == "fp8"
    assert found.sources == ("a.weight", "a.weight_scale")
    assert torch.equal(values, weight.float() * column)


@pytest.mark.parametrize("shape", [(4, 1, 1), (4,), (4, 6, 1), (4, 1, 5)])
def test_a_stack_of_experts_has_scales_of_its_own(shape: tuple[int, ...]) -> None:
    weight = normal(4, 6, 5).to(torch.float8_e4m3fn)
    scale = normal(*shape, seed=3).abs() + 0.1
    _, values = decoded({"experts.down_proj": weight, "experts.down_proj_scale": scale})
    stack = scale[:, None, None] if shape == (4,) else scale
    assert torch.equal(values, weight.float() * stack)


def test_fp8_channels_match_compressed_tensors() -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    weights = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    state = {"weight": normal(48, 40), "weight_scale": normal(48, 1, seed=2).abs() + 0.1}
    compressor = BaseCompressor.get_value_from_registry("float-quantized")
    packed = compressor.compress(state, scheme)
    _, values = decoded(
        {f"a.{name}": tensor for name, tensor in packed.items()},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}},
    )
    assert torch.equal(values, compressor.decompress(packed, scheme)["weight"])


def test_fp8_without_any_scale_is_a_plain_cast() -> None:
    weight = normal(8, 6).to(torch.float8_e4m3fn)
    found, values = decoded({"a.weight": weight})
    assert found.decoder == "fp8_cast"
    assert torch.equal(values, weight.float())


# MXFP4 and NVFP4


def test_gpt_oss_experts_match_transformers() -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks = whole(256, 3, 8, 2, 16)
    scales = whole(12, 3, 8, 2) + 120
    found, values = decoded({"e.gate_up_proj_blocks": blocks, "e.gate_up_proj_scales": scales})
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    assert (found.name, found.decoder, found.shape) == ("e.gate_up_proj", "mxfp4", (3, 8, 64))
    assert torch.equal(values, expected.transpose(1, 2))


def test_exponents_cover_their_whole_range() -> None:
    assert E8M0[0].item() == 2.0**-127
    assert E8M0[127].item() == 1.0
    assert E8M0[254].item() == 2.0**127
    assert np.isnan(E8M0[255])


@pytest.mark.parametrize(
    ("layout", "group"), [("nvfp4-pack-quantized", 16), ("mxfp4-pack-quantized", 32)]
)
def test_packed_floats_match_compressed_tensors(layout: str, group: int) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    strategy = "tensor_group" if group == 16 else "group"
    weights = {"num_bits": 4, "type": "float", "strategy": strategy, "group_size": group}
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    state = {"weight": normal(48, 64), "weight_scale": 2.0 ** whole(3, 48, 64 // group).float()}
    if group == 16:
        state["weight_global_scale"] = torch.tensor([7.0])
    compressor = BaseCompressor.get_value_from_registry(layout)
    packed = compressor.compress(state, scheme)
    found, values = decoded({f"a.{name}": tensor for name, tensor in packed.items()})
    expected = compressor.decompress(packed, scheme)["weight"]
    assert found.name == "a.weight"
    assert found.decoder == layout.partition("-")[0]
    torch.testing.assert_close(values, expected.float(), rtol=2**-8, atol=0)  # theirs is bfloat16


def test_nvfp4_of_modelopt_matches_the_loop() -> None:
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    weight = whole(256, 6, 16)
    scale = normal(6, 2, seed=2).abs().to(torch.float8_e4m3fn)
    second = torch.tensor(0.03)
    expected = torch.empty(6, 32)
    for i in range(6):
        for j in range(32):
            code = int(weight[i, j // 2]) >> (4 * (j % 2)) & 15
            value = table[code & 7] * (-1 if code & 8 else 1)
            expected[i, j] = value * (scale[i, j // 16].float() * second)
    found, values = decoded(
        {
            "a.weight": weight,
            "a.weight_scale": scale,
            "a.weight_scale_2": second,
            "a.input_scale": torch.tensor(1.0),
        }
    )
    assert found.decoder == "nvfp4"
    assert torch.equal(values, expected)


def test_nvfp4_experts_have_a_second_scale_each() -> None:
    weight, scale = whole(256, 3, 6, 16), normal(3, 6, 2).abs().to(torch.float8_e4m3fn)
    second = torch.tensor([1.0, 2.0, 4.0])
    state = {"e.weight": weight, "e.weight_scale": scale, "e.weight_scale_2": second}
    _, values = decoded(state)
    _, plain = decoded({**state, "e.weight_scale_2": torch.tensor(1.0)})
    assert torch.equal(values, plain * second[:, None, None])


def test_a_matrix_of_4_bit_floats_by_type_is_decoded() -> None:
    weight = whole(256, 6, 16)
    scale = whole(5, 6, 1) + 125
    state = {"a.weight": weight.view(torch.float4_e2m1fn_x2), "a.weight_scale_inv": scale}
    _, by_type = decoded(state)
    _, by_bytes = decoded({"a.weight": weight.view(torch.int8), "a.weight_scale_inv": scale})
    assert torch.equal(by_type, by_bytes)


# GPTQ and AWQ


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("layout", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("ordered", [False, True])
def test_gptq_matches_its_definition(bits: int, layout: str, ordered: bool) -> None:
    num_in, num_out, size = 96, 64, 32
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (num_in, num_out))
    zeros = rng.integers(0, 2**bits, (num_in // size, num_out))
    scales = torch.from_numpy(rng.normal(size=(num_in // size, num_out))).half()
    group = rng.permutation(num_in) // size if ordered else np.arange(num_in) // size
    stored_zeros = (zeros - 1) % 2**bits if layout == "gptq" else zeros
    state = {
        "a.qweight": pack_bits(codes, bits),
        "a.qzeros": pack_bits(stored_zeros.T, bits).t().contiguous(),
        "a.scales": scales,
    }
    if ordered:
        state["a.g_idx"] = torch.from_numpy(group).int()
    expected = np.empty((num_out, num_in), dtype=np.float32)
    for i in range(num_in):
        for o in range(num_out):
            step = np.float32(codes[i, o]) - np.float32(zeros[group[i], o])
            expected[o, i] = np.float32(scales[group[i], o].item()) * step
    found, values = decoded(state, {**GPTQ, "bits": bits, "checkpoint_format": layout})
    assert (found.name, found.decoder) == ("a.weight", "gptq")
    assert np.array_equal(values.numpy(), expected)


def test_awq_matches_its_definition() -> None:
    num_in, num_out, size = 64, 48, 32
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (num_in, num_out))
    zeros = rng.integers(0, 16, (num_in // size, num_out))
    scales = torch.from_numpy(rng.normal(size=(num_in // size, num_out))).half()

    def packed(numbers: np.ndarray) -> torch.Tensor:
        """AutoAWQ's packer: the word's place `i` takes number `order[i]`."""
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        words = np.zeros((numbers.shape[0], numbers.shape[1] // 8), dtype=np.uint32)
        for word in range(words.shape[1]):
            for place in range(8):
                column = numbers[:, 8 * word + order[place]].astype(np.uint32)
                words[:, word] |= column << np.uint32(4 * place)
        return torch.from_numpy(words.view(np.int32))

    expected = np.empty((num_out, num_in), dtype=np.float32)
    for i in range(num_in):
        steps = (codes[i] - zeros[i // size]).astype(np.float32)
        expected[:, i] = scales[i // size].float().numpy() * steps
    found, values = decoded(
        {"a.qweight": packed(codes), "a.qzeros": packed(zeros), "a.scales": scales},
        {"quant_method": "awq", "bits": 4, "group_size": size, "version": "gemm"},
    )
    assert (found.name, found.decoder) == ("a.weight", "awq")
    assert np.array_equal(values.numpy(), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_words_unpack_as_they_were_packed(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (75, 3))
    found = unpack_words(pack_bits(codes, bits), bits=bits, count=75)
    assert np.array_equal(found.numpy(), codes)


# bitsandbytes


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(96, 64), (37, 30)])
def test_four_bit_codes_match_bitsandbytes(kind: str, nested: bool, shape: tuple[int, int]) -> None:
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        normal(*shape), blocksize=64, quant_type=kind, compress_statistics=nested
    )
    parts = {f"a.weight.{name}": t for name, t in state.as_dict(packed=True).items()}
    found, values = decoded({"a.weight": packed, **parts}, {"quant_method": "bitsandbytes"})
    assert found.decoder == f"bnb_{kind}"
    expected = functional.dequantize_4bit(packed, state)
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-7)


def test_four_bit_codes_may_be_stored_in_another_type() -> None:
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        normal(96, 64), blocksize=64, quant_type="nf4", quant_storage=torch.bfloat16
    )
    parts = {f"a.weight.{name}": t for name, t in state.as_dict(packed=True).items()}
    _, values = decoded({"a.weight": packed, **parts})
    assert torch.equal(values, functional.dequantize_4bit(packed, state))


def test_eight_bit_rows_match_bitsandbytes() -> None:
    from bitsandbytes import functional

    codes, stats, _ = functional.int8_vectorwise_quant(normal(96, 64).half())
    state = {"a.weight": codes, "a.SCB": stats, "a.weight_format": whole(1)}
    found, values = decoded(state, {"quant_method": "bitsandbytes"})
    assert found.decoder == "bnb_int8"
    expected = functional.int8_vectorwise_dequant(codes, stats)
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=0)


# compressed-tensors integers


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("size", [32, None])
def test_packed_integers_match_compressed_tensors(
    bits: int, symmetric: bool, size: int | None
) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    num_out, num_in = 40, 96 if size else 90
    weights = {
        "num_bits": bits,
        "type": "int",
        "strategy": "group" if size else "channel",
        "group_size": size,
        "symmetric": symmetric,
    }
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    groups = num_in // size if size else 1
    half = 2 ** (bits - 1)
    state = {
        "weight": normal(num_out, num_in),
        "weight_scale": normal(num_out, groups, seed=2).abs() + 0.1,
        "weight_zero_point": whole(half, num_out, groups, dtype=torch.int8),
    }
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    packed = compressor.compress(state, scheme)
    found, values = decoded(
        {f"a.{name}": tensor for name, tensor in packed.items()},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}},
    )
    assert (found.name, found.decoder) == ("a.weight", "int_packed")
    torch.testing.assert_close(
        values, compressor.decompress(packed, scheme)["weight"], rtol=1e-6, atol=1e-6
    )


def packed_ints(codes: np.ndarray, words: torch.Tensor, **more: torch.Tensor) -> Weight:
    """Decodes 3-bit codes [out, in] stored as `words`, and compares with `codes - 4`."""
    weights = {"num_bits": 3, "type": "int", "strategy": "group", "group_size": 32}
    state = {
        "a.weight_packed": words,
        "a.weight_scale": torch.ones(codes.shape[0], codes.shape[1] // 32),
        "a.weight_shape": torch.tensor(codes.shape),
    }
    config = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
    found, values = decoded({**state, **more}, config)
    assert np.array_equal(values.numpy(), codes.astype(np.float32) - 4)
    return found


def test_older_packing_leaves_the_top_bits_of_a_word_unused() -> None:
    codes = np.random.default_rng(0).integers(0, 8, (5, 64))
    words = np.zeros((5, 7), dtype=np.int32)
    for i in range(64):
        words[:, i // 10] |= (codes[:, i] << (3 * (i % 10))).astype(np.int32)
    packed_ints(codes, torch.from_numpy(words))


def test_packed_integers_may_have_their_groups_in_any_order() -> None:
    codes = np.random.default_rng(0).integers(0, 8, (5, 64))
    words = pack_bits(codes.T, 3).t().contiguous()
    order = torch.arange(64, dtype=torch.int32).flip(0) // 32
    found = packed_ints(codes, words, **{"a.weight_g_idx": order})
    assert found.sources == ("a.weight_packed", "a.weight_scale", "a.weight_g_idx")


def test_the_last_group_of_packed_integers_may_be_cut_short() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (6, 100))
    scale = torch.rand(6, 4, generator=seeded()) + 0.1  # groups of 32, 32, 32 and 4
    state = {
        "a.weight_packed": pack_bits(codes.T, 4).t().contiguous(),
        "a.weight_scale": scale,
        "a.weight_shape": torch.tensor(codes.shape),
    }
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
    _, values = decoded(state, {"config_groups": {"g": {"weights": weights}}})
    torch.testing.assert_close(
        values, (torch.from_numpy(codes) - 8) * scale[:, np.arange(100) // 32]
    )


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("strategy", ["tensor", "channel", "group", "block"])
def test_whole_bytes_match_compressed_tensors(strategy: str, symmetric: bool) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    weights: dict[str, object] = {
        "num_bits": 8, "type": "int", "strategy": strategy, "symmetric": symmetric,
    }  # fmt: skip
    shape = {"tensor": (1,), "channel": (48, 1), "group": (48, 2), "block": (3, 4)}[strategy]
    if strategy == "group":
        weights["group_size"] = 32
    if strategy == "block":
        weights["block_structure"] = [16, 16]
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    state = {
        "weight": normal(48, 64),
        "weight_scale": normal(*shape, seed=2).abs() / 50 + 0.01,
        "weight_zero_point": whole(9, *shape, dtype=torch.int8),
    }
    compressor = BaseCompressor.get_value_from_registry("int-quantized")
    packed = compressor.compress(state, scheme)
    found, values = decoded(
        {f"a.{name}": tensor for name, tensor in packed.items()},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}},
    )
    assert found.decoder == "int8"
    expected = compressor.decompress(packed, scheme)["weight"]
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-6)
