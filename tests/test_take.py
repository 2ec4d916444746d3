"""Which tensors become which rows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import torch

from zoo.errors import UseError
from zoo.formats.weight import Account, Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.layers.spec import LayerSpec, Taken
from zoo.layers.take import take_layers
from zoo.options import LayerSelection

NO_CONFIG: Mapping[str, object] = MappingProxyType({})


def load_nothing(checkpoint: Checkpoint, rows: tuple[int, int] | None = None) -> torch.Tensor:
    raise AssertionError("taking layers must not read weights")


def weight(name: str, *shape: int) -> Weight:
    return Weight(name, shape, "F32", "none", (name,), load_nothing, 0)


def account_of(*weights: Weight) -> Account:
    return Account(weights, tuple(Entry(w.name, "analysed", None) for w in weights))


def taken(*weights: Weight, config: Mapping[str, object] = NO_CONFIG, **selection: Any) -> Taken:
    return take_layers(account_of(*weights), config, LayerSelection(**selection))


def only(*weights: Weight, **settings: Any) -> LayerSpec:
    (spec,) = taken(*weights, **settings).specs
    return spec


@pytest.mark.parametrize(
    ("convolution", "slices", "rows", "cols"),
    [
        (torch.nn.Conv1d(4, 6, 3), 3, 6, 4),
        (torch.nn.Conv2d(4, 6, (3, 5)), 15, 6, 4),
        (torch.nn.Conv3d(4, 6, 2), 8, 6, 4),
        (torch.nn.ConvTranspose2d(4, 6, 3), 9, 4, 6),
        (torch.nn.Conv2d(4, 6, 3, groups=2), 9, 6, 2),
        (torch.nn.Conv2d(4, 4, 3, groups=4), 9, 4, 1),
        (torch.nn.Conv2d(4, 6, 1), 1, 6, 4),
    ],
    ids=["1-D", "2-D", "3-D", "transposed", "grouped", "depthwise", "1x1"],
)
def test_a_convolution_is_pooled_from_its_kernel_slices(
    convolution: torch.nn.Module, slices: int, rows: int, cols: int
) -> None:
    kernel = convolution.get_parameter("weight").detach()
    spec = only(weight("features.3.weight", *kernel.shape))
    assert (spec.role, spec.num_slices, spec.rows, spec.cols) == ("conv", slices, rows, cols)
    matrices = spec.matrices(kernel)
    for k, matrix in enumerate(matrices):
        assert torch.equal(matrix, kernel.flatten(2)[:, :, k])
    assert matrices.shape == (slices, rows, cols)


def test_a_flax_kernel_has_its_slices_in_front() -> None:
    kernel = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    spec = only(weight("encoder.conv.kernel", 2, 3, 4, 5))
    assert (spec.num_slices, spec.rows, spec.cols) == (6, 4, 5)
    assert torch.equal(spec.matrices(kernel)[4], kernel[1, 1])


def test_slices_of_a_kernel_and_of_a_stack_are_views() -> None:
    kernel, stack = torch.zeros(6, 4, 3, 3), torch.zeros(2, 8, 4)
    conv = only(weight("conv.weight", *kernel.shape))
    expert = taken(weight("layers.0.mlp.experts.down_proj", *stack.shape)).specs[1]
    conv.matrices(kernel).add_(1)
    expert.matrices(stack).add_(1)
    assert kernel.sum() == kernel.numel()
    assert stack[1].sum() == 32


@pytest.mark.parametrize(
    ("name", "shape", "fate", "reason"),
    [
        ("ln.weight", (768,), "skipped", "vector: 768 values"),
        ("h.0.attn.bias", (1, 1, 1024, 1024), "skipped",
         "buffer: attention mask [1, 1, 1024, 1024]"),
        ("mlp.experts.gate_up_proj_bias", (4, 96), "companion", "bias [4, 96]"),
        ("mixer.A_log", (64, 16), "skipped", "state: decay rates [64, 16], no linear map"),
        ("embeddings.cls_token", (1, 1, 32), "skipped", "vector: 32 values"),
        ("embeddings.mask_token", (1, 32), "skipped", "vector: 32 values"),
        ("norm.layer_scale", (1, 32, 1, 1), "skipped", "vector: 32 values"),
        ("blocks.0.attention.time_mix_key", (1, 1, 32), "skipped", "vector: 32 values"),
    ],
)  # fmt: skip
def test_what_is_no_matrix_gives_no_row_but_a_reason(
    name: str, shape: tuple[int, ...], fate: str, reason: str
) -> None:
    found = taken(weight(name, *shape))
    assert found.specs == ()
    assert found.entries == (Entry(name, fate, reason),)  # type: ignore[arg-type]


@pytest.mark.parametrize("vocabulary", [2, 50_257, 262_144])
def test_embeddings_of_any_vocabulary_are_layers(vocabulary: int) -> None:
    spec = only(weight("model.embed_tokens.weight", vocabulary, 64))
    assert (spec.role, spec.rows, spec.cols, spec.is_measurable) == (
        "embedding", vocabulary, 64, True,
    )  # fmt: skip


def test_positions_with_axes_of_length_one_are_matrices() -> None:
    assert only(weight("pos_embed", 1, 197, 32)).matrices(torch.zeros(1, 197, 32)).shape == (
        1, 197, 32,
    )  # fmt: skip
    spec = only(weight("image_encoder.pos_embed", 1, 8, 8, 32))
    assert (spec.rows, spec.cols) == (64, 32)


def test_an_empty_tensor_is_a_skipped_row() -> None:
    found = taken(weight("fc.weight", 0, 8))
    assert found.specs[0].skip_reason == "empty"
    assert found.entries[0] == Entry("fc.weight", "skipped", "empty")


def test_layers_below_min_evals_are_skipped_rows() -> None:
    found = taken(weight("a.weight", 8, 64), weight("conv.weight", 4, 2, 3, 3), min_evals=10)
    reasons = [spec.skip_reason for spec in found.specs]
    assert reasons == ["too_small: 8 eigenvalues, min_evals is 10", None]


def test_globs_choose_tensors_and_leave_no_rows() -> None:
    names = ["lm_head.weight", "layers.0.q_proj.weight", "layers.0.k_proj.weight"]
    found = taken(*(weight(n, 8, 8) for n in names), include=("layers.*",), exclude=("*k_proj*",))
    assert [spec.tensor for spec in found.specs] == ["layers.0.q_proj.weight"]
    assert [entry.reason for entry in found.entries] == [
        "not_included: no include glob matches", None, "excluded: *k_proj*",
    ]  # fmt: skip


def test_a_tensor_nobody_could_decode_is_a_failed_row_in_its_place() -> None:
    known = weight("layers.0.q_proj.weight", 8, 8), weight("layers.2.q_proj.weight", 8, 8)
    unknown = Entry("layers.1.q_proj.qweight", "unknown", "no decoder: I32 [1, 8]")
    bias = Entry("layers.1.q_proj.scales", "unknown", "no decoder: F16 [8]")
    entries = (Entry(known[0].name, "analysed", None), unknown, bias,
               Entry(known[1].name, "analysed", None))  # fmt: skip
    found = take_layers(
        Account(known, entries),
        {},
        LayerSelection(),
        stored={unknown.tensor: (1, 8), bias.tensor: (8,)},
    )
    assert [spec.tensor for spec in found.specs] == [e.tensor for e in entries if e is not bias]
    assert [spec.layer_index for spec in found.specs] == [0, 1, 2]
    assert found.specs[1].fail_reason == "no decoder: I32 [1, 8]"
    assert found.specs[1].block == 1
    assert found.entries == entries


def test_a_tensor_of_unknown_layout_fails_and_says_so() -> None:
    found = taken(weight("attn.relative_coordinates", 3, 4, 5))
    assert found.specs[0].fail_reason == "unknown_layout: [3, 4, 5] is no matrix, kernel or stack"
    assert found.entries[0].fate == "unknown"


def test_three_axes_are_experts_by_name_and_a_kernel_otherwise() -> None:
    config: Mapping[str, object] = {"num_experts": 4}
    kernel = only(weight("layers.0.conv1d.weight", 4, 8, 16), config=config)
    assert (kernel.num_slices, kernel.expert) == (16, None)
    stack = taken(weight("layers.0.mlp.experts.down_proj", 4, 8, 16), config=config).specs
    assert [(s.expert, s.num_slices, s.rows, s.cols) for s in stack] == [
        (e, 1, 8, 16) for e in range(4)
    ]


def test_experts_of_dbrx_lie_below_one_another() -> None:
    config = {"ffn_config": {"moe_num_experts": 4}}
    tensors = [weight(f"transformer.blocks.0.ffn.experts.mlp.{w}", 40, 6) for w in ("w1", "v1")]
    specs = taken(*tensors, config=config).specs[:4]
    loaded = torch.arange(240.0).reshape(40, 6)
    assert [(s.expert, s.role, s.rows) for s in specs] == [(e, "gate", 10) for e in range(4)]
    assert specs[2].leading == (20, 30)
    assert torch.equal(specs[2].matrices(loaded)[0], loaded[20:30])
    assert torch.equal(specs[0].matrices(loaded[:10])[0], loaded[:10])
    assert torch.equal(specs[2].matrices(loaded[20:30], offset=20)[0], loaded[20:30])


@pytest.mark.parametrize("fused", ["split", "whole", "both"])
def test_fused_tensors_are_split_kept_or_both(fused: str) -> None:
    specs = taken(weight("blocks.0.attn.qkv.weight", 24, 8), fused=fused).specs
    parts = [("q", "q"), ("k", "k"), ("v", "v")]
    expected = {"split": parts, "whole": [(None, "qkv")], "both": [(None, "qkv"), *parts]}
    assert [(s.part, s.role) for s in specs] == expected[fused]


def test_a_kernel_named_conv_needs_no_weight_at_the_end_of_its_name() -> None:
    kernel = only(weight("stem.conv1", 8, 4, 3, 3))
    assert (kernel.num_slices, kernel.rows, kernel.cols) == (9, 8, 4)


def test_a_fused_tensor_of_unknown_layout_is_analysed_whole_with_a_note() -> None:
    spec = only(weight("h.0.attention.query_key_value.weight", 24, 8))
    assert spec.is_measurable
    assert (spec.part, spec.role) == (None, "qkv")
    assert spec.note == "fused_whole: layout of query_key_value in an unnamed model"


def test_a_component_is_read_with_its_own_config() -> None:
    tensors = [weight("text_encoder.layers.0.self_attn.qkv_proj.weight", 48, 24),
               weight("unet.layers.0.self_attn.qkv_proj.weight", 48, 24)]  # fmt: skip
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 24,
             "model_type": "phi3"}  # fmt: skip
    found = take_layers(
        account_of(*tensors), {}, LayerSelection(), components={"text_encoder.": heads, "unet.": {}}
    )
    assert [s.part for s in found.specs] == ["q", "k", "v", None]


def test_experts_left_out_of_the_sample_are_accounted_for() -> None:
    tensors = [weight(f"layers.0.mlp.experts.{e}.up_proj.weight", 8, 8) for e in range(8)]
    found = taken(*tensors, experts="sample:3")
    assert len(found.specs) == 3
    reasons = [entry.reason for entry in found.entries if entry.fate == "skipped"]
    assert reasons == ["not_sampled: experts = sample:3"] * 5


@pytest.mark.parametrize("experts", ["some", "sample:", "sample:0", "sample:-1", "sample:x"])
def test_a_malformed_expert_setting_is_refused(experts: str) -> None:
    with pytest.raises(UseError, match="wanted 'all' or 'sample:N'"):
        taken(weight("a.weight", 2, 2), experts=experts)


def test_a_stack_of_a_million_experts_is_refused() -> None:
    spec = only(weight("layers.0.mlp.experts.down_proj", 1_000_000, 1, 1))
    assert spec.fail_reason == "unknown_layout: 1000000 experts stacked, wanted at most 65536"


def test_gpt2_masks_of_old_checkpoints_are_buffers() -> None:
    found = taken(weight("h.3.attn.bias", 1, 1, 64, 64), weight("h.3.attn.c_proj.weight", 8, 8))
    assert [spec.role for spec in found.specs] == ["o"]


def test_a_gguf_file_says_its_head_counts_in_its_own_words() -> None:
    config = {"general.architecture": "phi3", "phi3.attention.head_count": 4,
              "phi3.attention.head_count_kv": 2, "phi3.embedding_length": 32}  # fmt: skip
    tensors = [weight("blk.0.attn_qkv.weight", 64, 32), weight("blk.0.ffn_up.weight", 96, 32),
               weight("blk.0.ffn_down.weight", 32, 48)]  # fmt: skip
    rows = [(s.role, s.rows) for s in taken(*tensors, config=config).specs]
    assert rows[:-1] == [("q", 32), ("k", 16), ("v", 16), ("gate", 48), ("up", 48)]


def test_stacks_of_llama_cpp_are_experts() -> None:
    specs = taken(weight("blk.0.ffn_gate_exps.weight", 4, 48, 32)).specs
    assert [(s.expert, s.role, s.rows, s.cols) for s in specs] == [
        (e, "gate", 48, 32) for e in range(4)
    ]


def test_mxfp4_stacks_of_gpt_oss_interleave_rows() -> None:
    stored = {"layers.0.mlp.experts.gate_up_proj_blocks": (2, 8, 1, 16),
              "layers.0.mlp.experts.gate_up_proj_scales": (2, 8, 1),
              "layers.0.mlp.experts.down_proj_blocks": (2, 32, 1, 16)}  # fmt: skip
    weights = tuple(
        Weight(name.removesuffix("_blocks"), shape, "U8", "mxfp4", (name,), load_nothing, 0)
        for name, shape in zip(stored, [(2, 8, 32), (), (2, 32, 4)], strict=True)
        if shape
    )
    entries = tuple(Entry(name, "analysed", None) for name in stored)
    found = take_layers(
        Account(weights, entries), {"model_type": "gpt_oss"}, LayerSelection(), stored=stored
    )
    rows = {(s.expert, s.role): s for s in found.specs}
    loaded = torch.arange(512.0).reshape(2, 8, 32)
    assert torch.equal(rows[1, "gate"].matrices(loaded)[0], loaded[1, ::2])
    assert torch.equal(rows[1, "up"].matrices(loaded[1:], offset=1)[0], loaded[1, 1::2])


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("gpt_oss", {"gate": (0, 12, 2), "up": (1, 12, 2)}),
     ("openai_privacy_filter", {"gate": (0, 6, 1), "up": (6, 12, 1)}),
     ("heir_of_gpt_oss", {None: (0, None, 1)})],
)  # fmt: skip
def test_biases_beside_stacked_gates_do_not_tell_how_they_lie(
    kind: str, parts: Mapping[str | None, tuple[int, int | None, int]]
) -> None:
    experts = "model.layers.0.mlp.experts"
    found = taken(
        weight(f"{experts}.gate_up_proj", 2, 8, 12),
        weight(f"{experts}.gate_up_proj_bias", 2, 12),
        weight(f"{experts}.down_proj", 2, 6, 8),
        config={"model_type": kind},
    )
    cuts = {s.part: (s.cut.start, s.cut.stop, s.cut.step) for s in found.specs if s.rows == 8}
    assert {part: cut for part, cut in cuts.items() if part != "down"} == parts


@pytest.mark.parametrize(
    ("module", "parts"),
    [("layers.0.mlp.input_linear", {"gate", "up"}), ("layers.0.mlp.switch_mlp.up_proj", {None})],
    ids=["jetmoe", "mlx"],
)
def test_stacked_experts_under_other_names_are_no_kernels(
    module: str, parts: set[str | None]
) -> None:
    down = module.replace("input", "output").replace("up_", "down_")
    tensors = weight(f"{module}.weight", 4, 24, 16), weight(f"{down}.weight", 4, 16, 12)
    found = [s for s in taken(*tensors).specs if s.tensor.startswith(module)]
    assert {(s.expert, s.part) for s in found} == {(e, part) for e in range(4) for part in parts}
    assert {s.num_slices for s in found} == {1}


def test_a_kernel_whose_first_axis_counts_experts_is_refused() -> None:
    config: Mapping[str, object] = {"num_experts": 4}
    spec = only(weight("layers.0.mlp.w_in.weight", 4, 24, 16), config=config)
    assert "number of experts" in (spec.fail_reason or "")
    assert only(weight("layers.0.conv1d.weight", 4, 1, 3), config=config).num_slices == 3


def test_stacked_projections_are_no_kernels() -> None:
    spec = only(weight("depth_decoder.layers.0.self_attn.q_proj.linear.weight", 8, 32, 32))
    assert "stack or a kernel" in (spec.fail_reason or "")
    assert only(weight("layers.0.self_attn.q_proj.weight", 32, 32, 1)).num_slices == 1
