"""Every quantised type of GGUF through the account, and the scales that lie beside some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from zoo.formats.account import account
from zoo.formats.weight import Account
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint

PLAIN = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")
WITHOUT_DECODER = ("Q8_1", "Q8_K", "Q1_0")
"""Types that exist while llama.cpp computes, and one that the package does not decode yet."""
TYPES = sorted(kind.name for kind in GGMLQuantizationType if kind.name not in PLAIN)


def blocks(kind: GGMLQuantizationType, rows: int, cols: int) -> np.ndarray:
    """Random numbers quantised by the package, or random small bytes where it cannot quantise."""
    rng = np.random.default_rng(kind.value)
    try:
        return quantize(rng.normal(size=(rows, cols)).astype(np.float32), kind)
    except NotImplementedError:
        block, num_bytes = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 60, (rows, cols // block * num_bytes)).astype(np.uint8)
        return raw  # half floats of small bytes stay finite


def values_of(
    path: Path, kind: str, data: np.ndarray, **beside: np.ndarray
) -> tuple[Account, torch.Tensor | None]:
    """The account of a file with `blk.0.attn_q.weight`, and that weight's values if it has any."""
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.attn_q.weight", data, raw_dtype=GGMLQuantizationType[kind])
    for part, tensor in beside.items():
        writer.add_tensor(f"blk.0.attn_q.{part}", tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint(LocalLocation.of(path).open()) as checkpoint:
        made = account(checkpoint)
        weights = [w for w in made.weights if w.name == "blk.0.attn_q.weight"]
        return made, weights[0].load(checkpoint) if weights else None


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_decoded_by_the_package_or_named(tmp_path: Path, kind: str) -> None:
    quant = GGMLQuantizationType[kind]
    data = blocks(quant, 5, 512)
    made, values = values_of(tmp_path / "m.gguf", kind, data)
    if kind in WITHOUT_DECODER:
        assert values is None
        assert f"cannot decode {kind}" in (made.entries[0].reason or "")
    else:
        assert made.weights[0].decoder == f"gguf_{kind.lower()}"
        assert np.array_equal(values.numpy(), dequantize(data, quant))


def half(raw: np.ndarray) -> np.float32:
    return raw.view(np.float16)[0].astype(np.float32)


def ternary_2_bits(block: np.ndarray) -> np.ndarray:
    """TQ2_0 of ggml-quants.c: 64 bytes of 2-bit numbers, 32 bytes at a time, and a factor."""
    out = []
    for j in (0, 32):
        for plane in range(4):
            out += [((int(block[j + m]) >> (2 * plane)) & 3) - 1 for m in range(32)]
    return np.array(out, np.float32) * half(block[64:66])


def ternary_base_3(block: np.ndarray) -> np.ndarray:
    """TQ1_0 of ggml-quants.c: five digits of base 3 a byte (four in the last), and a factor."""
    out = []
    for start, width, num_digits in ((0, 32, 5), (32, 16, 5), (48, 4, 4)):
        for digit in range(num_digits):
            for m in range(width):
                shifted = int(block[start + m]) * 3**digit % 256
                out.append((shifted * 3 >> 8) - 1)
    return np.array(out, np.float32) * half(block[52:54])


def non_linear_4_bits(block: np.ndarray) -> np.ndarray:
    """IQ4_NL of ggml-quants.c: a factor, and 4-bit places in a table of 16."""
    table = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
    codes = [int(byte) & 15 for byte in block[2:]] + [int(byte) >> 4 for byte in block[2:]]
    return np.array([table[code] for code in codes], np.float32) * half(block[:2])


@pytest.mark.parametrize(
    ("kind", "oracle"),
    [("TQ1_0", ternary_base_3), ("TQ2_0", ternary_2_bits), ("IQ4_NL", non_linear_4_bits)],
)
def test_simple_types_match_their_definition(tmp_path: Path, kind: str, oracle: object) -> None:
    quant = GGMLQuantizationType[kind]
    data = blocks(quant, 3, 512)
    _, values = values_of(tmp_path / "m.gguf", kind, data)
    num_bytes = GGML_QUANT_SIZES[quant][1]
    expected = [oracle(block) for block in data.reshape(-1, num_bytes)]
    assert np.array_equal(values.numpy(), np.concatenate(expected).reshape(3, 512))


def test_a_scale_beside_a_weight_multiplies(tmp_path: Path) -> None:
    data = blocks(GGMLQuantizationType.TQ2_0, 4, 256)
    _, plain = values_of(tmp_path / "a.gguf", "TQ2_0", data)
    made, scaled = values_of(
        tmp_path / "b.gguf", "TQ2_0", data, scale=np.array([0.5]), input_scale=np.array([3.0])
    )
    assert torch.equal(scaled, 0.5 * plain)
    assert [entry.fate for entry in made.entries] == ["analysed", "companion", "companion"]


def test_experts_have_scales_of_their_own(tmp_path: Path) -> None:
    data = blocks(GGMLQuantizationType.NVFP4, 6, 64).reshape(3, 2, -1)
    _, plain = values_of(tmp_path / "a.gguf", "NVFP4", data)
    scales = np.array([1.0, 2.0, 4.0])
    _, scaled = values_of(tmp_path / "b.gguf", "NVFP4", data, scale=scales)
    assert torch.equal(scaled, plain * torch.tensor([1.0, 2.0, 4.0])[:, None, None])
    made, nothing = values_of(tmp_path / "c.gguf", "NVFP4", data, scale=np.ones(2))
    assert nothing is None
    assert "has shape [2]; wanted [] or [1] or [3]" in (made.entries[0].reason or "")


def test_plain_floats_with_a_scale_are_refused(tmp_path: Path) -> None:
    made, nothing = values_of(tmp_path / "a.gguf", "F16", np.ones((4, 4), np.float16),
                              scale=np.array([0.5]))  # fmt: skip
    assert nothing is None
    assert "a scale of its own, 'blk.0.attn_q.scale'" in (made.entries[0].reason or "")
