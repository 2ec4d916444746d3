"""Tiny random models of the main families, as `transformers` writes them to disk.

`build(family)` gives the model; nothing is imported before it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SIZE: Final[dict[str, Any]] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 32,
}  # fmt: skip
_GROUPED: Final = {**_SIZE, "num_key_value_heads": 2}
_LLAMA: Final = {**_GROUPED, "head_dim": 8}
_GPT: Final = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
_TOKENS: Final = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_VISION: Final = {k: v for k, v in _SIZE.items() if "vocab" not in k and "position" not in k} | {
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
_FALCON: Final = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
                  "num_attention_heads": 4}  # fmt: skip
_T5: Final = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
              "num_heads": 4}  # fmt: skip
_SEQ2SEQ: Final = {
    "vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}  # fmt: skip

# family: (model class, configuration class, settings)
MODELS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "bert": ("BertForMaskedLM", "BertConfig", _SIZE),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", _SIZE),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**_SIZE, "embedding_size": 16}),
    "modernbert": (
        "ModernBertForMaskedLM", "ModernBertConfig",
        {**_SIZE, **_TOKENS, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", _GPT),
    "codegen": ("CodeGenForCausalLM", "CodeGenConfig", {**_GPT, "rotary_dim": 8}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _SIZE),
    "bloom": (
        "BloomForCausalLM", "BloomConfig",
        {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "mistral": ("MistralForCausalLM", "MistralConfig", _LLAMA),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**_LLAMA, "num_local_experts": 4}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", _LLAMA),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM", "Qwen2MoeConfig",
        {**_GROUPED, "num_experts": 4, "moe_intermediate_size": 24,
         "shared_expert_intermediate_size": 40},
    ),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM", "Qwen3MoeConfig",
        {**_LLAMA, "num_experts": 4, "moe_intermediate_size": 24},
    ),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", _LLAMA),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", _LLAMA),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**_GROUPED, **_TOKENS}),
    "falcon_7b": ("FalconForCausalLM", "FalconConfig", {**_FALCON, "multi_query": True}),
    "falcon_40b": (
        "FalconForCausalLM", "FalconConfig",
        {**_FALCON, "num_kv_heads": 2, "new_decoder_architecture": True},
    ),
    "falcon_rw": ("FalconForCausalLM", "FalconConfig", {**_FALCON, "multi_query": False}),
    "gpt_oss": ("GptOssForCausalLM", "GptOssConfig", {**_LLAMA, "num_local_experts": 4}),
    "llama4": (
        "Llama4ForCausalLM", "Llama4TextConfig",
        {**_LLAMA, "num_local_experts": 4, "intermediate_size_mlp": 40},
    ),
    "granitemoe": (
        "GraniteMoeForCausalLM", "GraniteMoeConfig", {**_GROUPED, "num_local_experts": 4},
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM", "DeepseekV3Config",
        {**_GROUPED, "moe_intermediate_size": 24, "n_routed_experts": 4, "n_group": 2,
         "topk_group": 1, "num_experts_per_tok": 2, "q_lora_rank": 16, "kv_lora_rank": 8,
         "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
         "first_k_dense_replace": 1},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5),
    "t5_gated": (
        "T5ForConditionalGeneration", "T5Config", {**_T5, "feed_forward_proj": "gated-gelu"},
    ),
    "bart": (
        "BartForConditionalGeneration", "BartConfig", {**_SEQ2SEQ, "max_position_embeddings": 32},
    ),
    "whisper": (
        "WhisperForConditionalGeneration", "WhisperConfig",
        {**_SEQ2SEQ, **_TOKENS, "num_mel_bins": 8, "max_source_positions": 16,
         "max_target_positions": 16},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", _VISION),
    "clip": (
        "CLIPModel", "CLIPConfig",
        {"text_config": _SIZE, "vision_config": _VISION, "projection_dim": 16},
    ),
    "resnet": (
        "ResNetForImageClassification", "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 1]},
    ),
    "convnext": (
        "ConvNextForImageClassification", "ConvNextConfig",
        {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2},
    ),
    "wav2vec2": (
        "Wav2Vec2ForCTC", "Wav2Vec2Config",
        {**_SIZE, "conv_dim": (16, 16), "conv_kernel": (3, 3), "conv_stride": (2, 2),
         "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
         "num_conv_pos_embedding_groups": 4},
    ),
    "mamba": (
        "MambaForCausalLM", "MambaConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ),
    "mamba2": (
        "Mamba2ForCausalLM", "Mamba2Config",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4,
         "num_heads": 8, "head_dim": 8, "n_groups": 2},
    ),
    "jamba": (
        "JambaForCausalLM", "JambaConfig",
        {**_GROUPED, "num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
         "use_mamba_kernels": False},
    ),
    "rwkv": (
        "RwkvForCausalLM", "RwkvConfig",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
         "attention_hidden_size": 32, "intermediate_size": 48},
    ),
}  # fmt: skip


def build(family: str) -> Any:
    """The model with random weights, in evaluation mode."""
    import torch
    import transformers

    model_class, config_class, settings = MODELS[family]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**settings)
    return getattr(transformers, model_class)(config).eval()
