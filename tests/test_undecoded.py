"""Matrices beside codes: none of them becomes a layer while their codes are not understood.

The layouts are those of formats met on the Hub, shrunk; what each holds beside its codes is made
here. Nothing in the rule knows these formats.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from zoo.formats.account import account
from zoo.formats.weight import Account
from zoo.io.memory import memory_checkpoint

Tensors = dict[str, torch.Tensor]


def plain(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


def codes(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
    return torch.ones(shape).to(dtype)


def accounted(state: Mapping[str, torch.Tensor], **config: object) -> Account:
    return account(memory_checkpoint(state, config))


def measured(made: Account) -> list[str]:
    return [weight.name for weight in made.weights]


def reasons(made: Account) -> dict[str, str]:
    return {entry.tensor: entry.reason or "" for entry in made.entries if entry.fate == "unknown"}


BLOCK = "model.layers.0.self_attn.q_proj."
SVDQUANT: Tensors = {
    "qweight": codes(64, 32, dtype=torch.int8), "wscales": plain(1, 64),
    "smooth_factor": plain(64), "proj_down": plain(64, 8), "proj_up": plain(64, 8),
}  # fmt: skip
FP_QUANT: Tensors = {
    "qweight": codes(64, 32, dtype=torch.uint8), "scales": codes(64, 2, dtype=torch.uint8),
    "forward_hadamard_matrix": plain(32, 32), "backward_hadamard_matrix": plain(32, 32),
}  # fmt: skip
VPTQ: Tensors = {
    "indices": codes(1, 8, 32), "centroids.weight": plain(1, 2048),
    "res_centroids.weight": plain(1, 128), "weight_scale": plain(64),
}  # fmt: skip
AQLM: Tensors = {
    "codes": codes(64, 8, 1, dtype=torch.int16), "codebooks": plain(1, 256, 1, 8),
    "scales": plain(64, 1, 1, 1),
}  # fmt: skip
QTIP: Tensors = {
    "trellis": codes(16, 16, dtype=torch.int16), "tlut": plain(512, 2), "SU": plain(64),
}  # fmt: skip
QUIP: Tensors = {
    "Qidxs": codes(64, 8, dtype=torch.int64), "SU": plain(64), "A": plain(64, 4), "B": plain(4, 64)
}  # fmt: skip
SPQR: Tensors = {
    "dense_weights": codes(512, dtype=torch.int64), "row_offsets": codes(65),
    "outliers": plain(8, 2),
}  # fmt: skip
NOBODY_KNOWS: Tensors = {
    "q": codes(64, 8),
    "left": plain(64, 4),
    "right.table.weight": plain(4, 64),
}


@pytest.mark.parametrize(
    ("state", "name"),
    [(SVDQUANT, "SVDQuant"), (FP_QUANT, "FP-Quant"), (VPTQ, "VPTQ"), (AQLM, "AQLM"),
     (QTIP, "QTIP"), (QUIP, "QuIP#"), (SPQR, "SpQR"), (NOBODY_KNOWS, "no decoder")],
)  # fmt: skip
def test_no_matrix_beside_or_below_undecoded_codes_is_a_layer(state: Tensors, name: str) -> None:
    stored = {BLOCK + leaf: tensor for leaf, tensor in state.items()}
    made = accounted({**stored, "lm_head.weight": plain(8, 64)})
    assert measured(made) == ["lm_head.weight"]
    matrices = {tensor for tensor in stored if stored[tensor].ndim >= 2}
    assert matrices <= set(reasons(made)) <= {*matrices, f"{BLOCK}dense_weights"}
    assert name in " ".join(reasons(made).values())


def test_a_module_that_holds_layers_is_no_heap_of_codes() -> None:
    state = {
        "model.attn.lookup": codes(7, 7),
        "model.attn.qkv.weight": plain(9, 3), "model.attn.qkv.bias": plain(9),
        "model.grid": codes(5, 5), "model.layers.0.fc.weight": plain(4, 6),
        "ids": codes(3, 3), "head.weight": plain(4, 6),
    }  # fmt: skip
    expected = ["model.attn.qkv.weight", "model.layers.0.fc.weight", "head.weight"]
    assert measured(accounted(state)) == expected


@pytest.mark.parametrize(
    "extra", ["svdquant_lora_a", "rotation", "codebook", "R1_input.weight", "a.b.matrix"]
)
def test_decoded_codes_beside_an_unexpected_matrix_are_part_of_a_weight(extra: str) -> None:
    eights = torch.ones(8, 6, dtype=torch.int8)
    state = {"a.weight": eights, "a.weight_scale": plain(8, 1)}
    assert measured(accounted(state)) == ["a.weight"]
    made = accounted({**state, f"a.{extra}": plain(8, 4)})
    assert measured(made) == []
    assert f"'a.{extra}' beside it is a matrix" in reasons(made)["a.weight"]
    assert f"a.{extra}" in reasons(made)


def test_layers_below_a_decoded_weight_do_not_touch_it() -> None:
    state = {
        "a.weight": torch.ones(8, 6, dtype=torch.int8), "a.weight_scale": plain(8, 1),
        "a.fc.weight": plain(4, 6), "a.fc.bias": plain(4), "a.blocks.0.fc.weight": plain(4, 6),
    }  # fmt: skip
    assert measured(accounted(state)) == ["a.weight", "a.fc.weight", "a.blocks.0.fc.weight"]


def test_adapters_beside_decoded_codes_leave_them_alone() -> None:
    state = {
        "a.weight": torch.ones(8, 6, dtype=torch.int8), "a.weight_scale": plain(8, 1),
        "a.lora_A.weight": plain(2, 6), "a.lora_B.weight": plain(8, 2), "a.bias": plain(8),
    }  # fmt: skip
    assert measured(accounted(state)) == ["a.weight", "a.lora_A.weight", "a.lora_B.weight"]


def test_stacks_in_one_module_do_not_touch_each_other() -> None:
    eights = torch.ones(2, 8, 6).to(torch.float8_e4m3fn)
    state = {
        "experts.up_proj": eights, "experts.up_proj_scale": plain(2, 1, 1),
        "experts.down_proj": plain(2, 6, 8),
    }  # fmt: skip
    assert measured(accounted(state)) == ["experts.up_proj", "experts.down_proj"]


@pytest.mark.parametrize("scale", ["weight_scale", "weight_scale_inv", "qscale_weight"])
def test_plain_floats_with_a_scale_of_their_own_may_be_codes(scale: str) -> None:
    made = accounted({"a.weight": plain(4, 4), f"a.{scale}": torch.tensor(0.1)})
    assert measured(made) == []
    assert f"a scale of its own, 'a.{scale}', beside it" in reasons(made)["a.weight"]


UNREAD = {"quant_method": "some-new_method", "modules_to_not_convert": ["lm_head", "*.gate"]}


def test_a_method_nobody_reads_covers_what_looks_plain() -> None:
    state = {
        "model.embed_tokens.weight": plain(9, 4), "model.layers.0.q_proj.weight": plain(4, 4),
        "model.layers.0.mlp.gate.weight": plain(2, 4), "lm_head.weight": plain(9, 4),
    }  # fmt: skip
    made = accounted(state, quantization_config=UNREAD)
    left = ["model.embed_tokens.weight", "model.layers.0.mlp.gate.weight", "lm_head.weight"]
    assert measured(made) == left
    said = reasons(made)["model.layers.0.q_proj.weight"]
    assert "quant_method is 'some-new_method', which no decoder reads" in said


def test_codes_that_look_known_are_not_decoded_under_a_method_nobody_reads() -> None:
    state = {"a.weight": torch.ones(8, 6, dtype=torch.int8), "a.weight_scale": plain(8, 1)}
    made = accounted(state, quantization_config=UNREAD)
    assert measured(made) == []
    assert "'some-new_method', which no decoder reads" in reasons(made)["a.weight"]


def test_other_keys_that_declare_a_method_count_too() -> None:
    made = accounted({"a.weight": plain(4, 4)}, quip_params={"codebook": "E8P12"})
    assert "'quip', which no decoder reads" in reasons(made)["a.weight"]


@pytest.mark.parametrize(
    "config", [{}, {"quant_method": "gptq"}, {"quant_method": "compressed-tensors"}, {"bits": 4}]
)
def test_plain_matrices_under_a_known_method_stay_layers(config: dict[str, object]) -> None:
    made = accounted({"a.weight": plain(4, 4)}, quantization_config=config)
    assert measured(made) == ["a.weight"]
