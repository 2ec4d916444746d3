"""Tiny random models of more families that keep several projections in one matrix, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SIZE: Final[dict[str, Any]] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_GROUPED: Final = {**_SIZE, "num_key_value_heads": 2}
_MAMBA: Final = {"mamba_d_state": 4, "mamba_d_head": 8, "mamba_n_heads": 8, "mamba_n_groups": 2,
                 "mamba_d_ssm": 64, "mamba_expand": 2, "use_mamba_kernels": False}  # fmt: skip
_LATENT: Final = {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
                  "qk_nope_head_dim": 8, "v_head_dim": 6,
                   "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                       "partial_rotary_factor": 1.0}}  # fmt: skip
_EXPERTS: Final = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
                   "num_experts_per_tok": 2, "moe_intermediate_size": 24}  # fmt: skip
_TOWER: Final = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4,
                 "patch_size": 4}  # fmt: skip
_DELTA: Final = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6,
                 "linear_value_head_dim": 5, "linear_conv_kernel_dim": 4}  # fmt: skip

# family: (model class, configuration class, settings)
MODELS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "deberta": ("DebertaForMaskedLM", "DebertaConfig", {**_SIZE, "relative_attention": True,
                "pos_att_type": ["c2p", "p2c"]}),
    "qwen3_next": (
        "Qwen3NextForCausalLM", "Qwen3NextConfig",
        {**_GROUPED, **_EXPERTS, **_DELTA, "head_dim": 8, "num_hidden_layers": 4,
         "shared_expert_intermediate_size": 24},
    ),
    "qwen3_5": (
        "Qwen3_5ForCausalLM", "Qwen3_5TextConfig",
        {**_GROUPED, **_DELTA, "head_dim": 8, "num_hidden_layers": 4},
    ),
    "glm4": ("Glm4ForCausalLM", "Glm4Config", {**_GROUPED, "head_dim": 8}),
    "glm4_moe_lite": (
        "Glm4MoeLiteForCausalLM", "Glm4MoeLiteConfig",
        {**_SIZE, **_EXPERTS, **_LATENT, "n_group": 1, "topk_group": 1},
    ),
    "kimi_linear": (
        "KimiLinearForCausalLM", "KimiLinearConfig", {**_SIZE, **_EXPERTS, **_LATENT, **_DELTA,
         "layer_types": ["full_attention", "linear_attention"]},
    ),
    "lfm2": ("Lfm2ForCausalLM", "Lfm2Config", {**_GROUPED, "layer_types": ["conv", "full_attention"]}),
    "zamba": (
        "ZambaForCausalLM", "ZambaConfig",
        {**_SIZE, "num_key_value_heads": 4, "num_hidden_layers": 12, "attn_layer_period": 6, "attn_layer_offset": 4,
         "use_mamba_kernels": False, "mamba_d_state": 4, "n_mamba_heads": 2, "mamba_dt_rank": 3},
    ),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM", "GraniteMoeHybridConfig",
        {**_GROUPED, **_EXPERTS, **_MAMBA, "layer_types": ["mamba", "attention"],
         "shared_intermediate_size": 24},
    ),
    "falcon_h1": ("FalconH1ForCausalLM", "FalconH1Config", {**_GROUPED, **_MAMBA}),
    "bamba": ("BambaForCausalLM", "BambaConfig", {**_GROUPED, **_MAMBA, "attn_layer_indices": [1]}),
    "nemotron_h": (
        "NemotronHForCausalLM", "NemotronHConfig",
        {**_GROUPED, "layers_block_type": ["mamba", "attention"], "mamba_num_heads": 8,
         "mamba_head_dim": 8, "ssm_state_size": 4, "n_groups": 2, "use_mamba_kernels": False,
         "head_dim": 8},
    ),
    "jetmoe": (
        "JetMoeForCausalLM", "JetMoeConfig",
        {**_SIZE, **_EXPERTS, "kv_channels": 8, "num_key_value_heads": 2},
    ),
    "minimax": (
        "MiniMaxForCausalLM", "MiniMaxConfig",
        {**_GROUPED, **_EXPERTS, "head_dim": 8,
         "layer_types": ["linear_attention", "full_attention"]},
    ),
    "mpt": ("MptForCausalLM", "MptConfig", {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4}),
    "persimmon": ("PersimmonForCausalLM", "PersimmonConfig", _SIZE),
    "moonshine": (
        "MoonshineForConditionalGeneration", "MoonshineConfig",
        {**_SIZE, "encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1,
         "encoder_num_attention_heads": 4, "decoder_num_attention_heads": 4,
         "decoder_start_token_id": 1},
    ),
    "hiera": (
        "HieraForImageClassification", "HieraConfig",
        {"image_size": [32, 32], "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2],
         "patch_size": [7, 7], "patch_stride": [4, 4], "masked_unit_size": [2, 2],
         "num_query_pool": 1, "query_stride": [2, 2]},
    ),
    "qwen2_5_vl": ("Qwen2_5_VisionTransformerPretrainedModel", "Qwen2_5_VLVisionConfig", {
        **_TOWER, "out_hidden_size": 16, "fullatt_block_indexes": [0], "window_size": 16}),
    "qwen3_vl": ("Qwen3VLVisionModel", "Qwen3VLVisionConfig", {
        **_TOWER, "out_hidden_size": 16, "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0]}),
}  # fmt: skip
"""Families whose projections are split as the module has them."""

ON_DISK: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**_GROUPED, **_EXPERTS}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**_GROUPED, **_EXPERTS, "head_dim": 8}),
    "granitemoe": ("GraniteMoeForCausalLM", "GraniteMoeConfig", {**_GROUPED, **_EXPERTS}),
    "aria_text": ("AriaTextForCausalLM", "AriaTextConfig", {
        **_GROUPED, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 2}),
    "hrm_text": ("HrmTextForCausalLM", "HrmTextConfig", _SIZE),
    "gte": ("GteForMaskedLM", "GteConfig", _SIZE),
    "nomic_bert": ("NomicBertForMaskedLM", "NomicBertConfig", _SIZE),
    "molmo2_text": ("Molmo2TextModel", "Molmo2TextConfig", {**_GROUPED, "head_dim": 8}),
    "inkling": ("InklingForConditionalGeneration", "InklingConfig", {
        "text_config": {**_GROUPED, **_EXPERTS, "head_dim": 8, "n_shared_experts": 2},
        "vision_config": {"n_layers": 2, "patch_size": 4},
        "audio_config": {"text_hidden_size": 32, "n_mel_bins": 4}}),
    "qwen3_next": MODELS["qwen3_next"],
    "kimi_linear": MODELS["kimi_linear"],
}  # fmt: skip
"""Families that are stored in another layout, or under other names, than the module has them."""


def build(family: str) -> Any:
    """The model with random weights, in evaluation mode."""
    import torch
    import transformers

    model_class, config_class, settings = {**MODELS, **ON_DISK}[family]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**settings)
    config._attn_implementation = "eager"
    return getattr(transformers, model_class)(config).eval()


def run(model: Any) -> object:
    """One pass through the model, with an input of its kind."""
    import torch

    text = torch.arange(3, 11).unsqueeze(0)
    if hasattr(model.config, "temporal_patch_size"):  # 4 by 4 patches of two frames
        return model(torch.randn(16, 3 * 2 * 4 * 4), grid_thw=torch.tensor([[1, 4, 4]]))
    if model.main_input_name == "pixel_values":
        return model(pixel_values=torch.randn(1, 3, 32, 32))
    if model.main_input_name == "input_values":
        return model(input_values=torch.randn(1, 3000), decoder_input_ids=text)
    return model(input_ids=text)
