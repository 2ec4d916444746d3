"""ComfyUI's swizzled small floats against their definition.

comfy-kitchen is a wheel of 65 MiB and no test dependency; the decoder gave 0.2.40's own values
(`dequantize_nvfp4`, `dequantize_mxfp8`, in float32) for what its eager backend had quantised.
"""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import DAMAGES, MANY, Quantised, assert_decodes, assert_is_noticed, damages, reason

TABLE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def marker(**said: object) -> torch.Tensor:
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def swizzled(scales: torch.Tensor) -> torch.Tensor:
    """cuBLAS's layout, one scale at a time; padded with zeros."""
    rows, groups = scales.shape
    tall, wide = -(-rows // 128), -(-groups // 4)
    out = torch.zeros(tall * wide * 512, dtype=scales.dtype)
    for r in range(rows):
        for c in range(groups):
            tile = (r // 128) * wide + c // 4
            out[512 * tile + 16 * (r % 32) + 4 * (r % 128 // 32) + c % 4] = scales[r, c]
    return out.reshape(128 * tall, 4 * wide)


def quantised(kind: str, rows: int, groups: int, *, in_header: bool = False) -> Quantised:
    generator = torch.Generator().manual_seed(rows)
    size = 16 if kind == "nvfp4" else 32
    if kind == "nvfp4":
        codes = torch.randint(1, 16, (rows, groups * size), generator=generator)
        plain = torch.tensor(
            [TABLE[c & 7] * (-1 if c & 8 else 1) for c in codes.flatten().tolist()]
        )
        scale = (torch.rand(rows, groups, generator=generator) + 0.5).to(torch.float8_e4m3fn)
        overall, factors = torch.tensor(0.03), scale.float() * 0.03
        stored_scale = swizzled(scale.view(torch.uint8)).view(torch.float8_e4m3fn)
        state = {"a.weight": (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)}
        state |= {"a.weight_scale": stored_scale, "a.weight_scale_2": overall}
    else:
        floats = torch.randn(rows, groups * size, generator=generator).to(torch.float8_e4m3fn)
        plain = floats.float()
        exponents = torch.randint(120, 134, (rows, groups), generator=generator).to(torch.uint8)
        factors = 2.0 ** (exponents.float() - 127)
        state = {"a.weight": floats, "a.weight_scale": swizzled(exponents)}
    expected = plain.reshape(rows, groups, size) * factors[:, :, None]
    metadata = {}
    if in_header:
        metadata["_quantization_metadata"] = json.dumps({"layers": {"a": {"format": kind}}})
    else:
        state["a.comfy_quant"] = marker(format=kind)
    unused = () if in_header else ("a.comfy_quant",)
    return Quantised(
        state, expected.reshape(rows, -1), f"comfy_{kind}", metadata=metadata, unused=unused,
        rtol=1e-6,
    )  # fmt: skip


@MANY
@given(st.sampled_from(["nvfp4", "mxfp8"]), st.booleans(), st.data())
def test_swizzled_floats_match_their_definition(
    kind: str, in_header: bool, data: st.DataObject
) -> None:
    rows, groups = data.draw(st.integers(3, 150)), data.draw(st.integers(1, 6))
    stored = quantised(kind, rows, groups, in_header=in_header)
    assert_decodes(stored)
    if in_header:  # where the marker itself is lost, another format is read
        kinds = tuple(kind for kind in DAMAGES if kind != "another type")
        assert_is_noticed(data.draw(damages(stored, kinds)), stored)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"format": "int8_tensorwise", "convrot": True}, "'int8_tensorwise', rotated (convrot)"),
        ({"format": "nvfp4", "convrot": True}, "'nvfp4', rotated (convrot)"),
        ({"format": "asym_w4a8_int8"}, "'asym_w4a8_int8'"),
        ({}, "None"),
    ],
)
def test_rotated_layers_and_other_formats_are_refused(said: dict[str, object], name: str) -> None:
    state = {
        "a.weight": torch.ones(8, 32, dtype=torch.int8), "a.weight_scale": torch.ones(8, 1),
        "a.comfy_quant": marker(**said),
    }  # fmt: skip
    assert f"in ComfyUI's format {name}" in reason(Quantised(state, torch.zeros(1), ""))


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8_tensorwise"])
def test_plain_eight_bit_layers_are_read_as_ever(kind: str) -> None:
    codes = torch.ones(8, 32).to(torch.float8_e4m3fn if kind[0] == "f" else torch.int8)
    state = {
        "a.weight": codes, "a.weight_scale": torch.tensor(0.5), "a.comfy_quant": marker(format=kind)
    }  # fmt: skip
    decoder = "fp8" if kind[0] == "f" else "int8"
    stored = Quantised(state, torch.full((8, 32), 0.5), decoder, unused=("a.comfy_quant",))
    assert_decodes(stored)


@pytest.mark.parametrize("kind", ["nvfp4", "mxfp8"])
def test_padding_is_refused(kind: str) -> None:
    stored = quantised(kind, 32, 2)
    weight = stored.state["a.weight"].clone()
    weight.view(torch.uint8)[-1] = 0
    assert "it was padded to [32, " in reason(stored, {**stored.state, "a.weight": weight})
