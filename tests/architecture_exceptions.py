"""What names and shapes alone cannot tell, and configurations that build no model; each with its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_TIMM: Final = "its backbone comes from timm, which is not installed"
_DEFAULTS: Final = "its default configuration builds no model, nor does one with fewer blocks"

NOT_BUILT: Final[Mapping[str, str]] = {
    "cohere_compass": _DEFAULTS,
    "cohere_compass_text": _DEFAULTS,
    "deepseek_ocr2": _DEFAULTS,
    "dinat": "needs natten, which is not installed",
    "edgetam": _TIMM,
    "edgetam_vision_model": _TIMM,
    "fast_vlm": _TIMM,
    "gemma3n": f"{_TIMM}; its language model is walked as gemma3n_text",
    "gemma3n_vision": _TIMM,
    "gemma4_assistant": _DEFAULTS,
    "gemma4_unified_assistant": _DEFAULTS,
    "granite4_vision": _DEFAULTS,
    "higgs_audio_v2_tokenizer": "needs torchaudio, which is not installed",
    "layoutlmv2": "needs detectron2, which is not installed",
    "moonshine_streaming": _DEFAULTS,
    "pe_audio_video": _TIMM,
    "pe_audio_video_encoder": _TIMM,
    "pe_video": _TIMM,
    "pe_video_encoder": _TIMM,
    "perception_lm": _TIMM,
    "pp_ocrv5_server_det": _DEFAULTS,
    "pp_ocrv6_medium_det": _DEFAULTS,
    "qwen3_omni_moe": f"{_DEFAULTS}; its parts are walked one by one",
    "qwen4_exp": _DEFAULTS,
    "qwen4_exp_text": _DEFAULTS,
    "timm_backbone": _TIMM,
    "timm_wrapper": _TIMM,
    "voxtral_realtime_text": "transformers does not export its class",
}
"""Model types that cannot be built here."""

_ONE_MAP: Final = "what carries the position is a part of the query, not another projection"
_BOTH_WAYS: Final = "each projection is a query one way and a key the other way"

NOT_SO: Final[Mapping[str, str]] = {
    # cut up by the code, but one projection
    "*.q_b_proj: fused,": _ONE_MAP,
    "*Indexer.wq_b: fused,": _ONE_MAP,
    "MistralLarge4TextAttention.q_proj: fused,": _ONE_MAP,
    "BailingHybridAttention.q_proj: fused,": _ONE_MAP,
    "ClvpSelfAttention.q_proj: fused,": _ONE_MAP,
    "GPTNeoSelfAttention.q_proj: fused,": "the code slices the positions, the last axis but one",
    "ProphetNetNgramSelfAttention.*_proj: fused,": "the code takes the streams of a sequence apart",
    "*.kv_a_proj_with_mqa: fused,": "in layers without positions there is nothing to cut",
    "*ISTFTHead.linear: fused,": "magnitude and phase are the outputs of one head",
    "RadioPatchEmbeddings.patch_projection: fused,": "the code takes the images of a batch apart",
    "UnlimitedOcrModel.multi_modal_projector: fused,": "the code takes the views of an image apart",
    "HyperCLOVAXVisionV2Model.projector: fused,": "the code takes the images of a batch apart",
    "LSHSelfAttention.query_key: fused,": "one matrix is query and key at once",
    "*DetrAttention.o_proj: fused,": "the code takes groups of queries apart, in training",
    # fused under names that do not say so
    "VibeVoiceDiffusionHead*.linear*: fused,": "scales and shifts under the name of a plain layer",
    # what the names say is true, and the class says something else
    "AriaCrossAttention.linear: role": "belongs to the projector, as its path says",
    "BridgeTowerResidualAttention.mlp.c_*: role": "a block that is called attention",
    "*BiMultiHeadAttention.*_proj: role": _BOTH_WAYS,
    # what the names do not say
    "VideoPrismTextEmbeddings.position_embedding: buffer": "sinusoids, named as learned positions are",
    "ConvBertSelfAttention.conv_*_layer: role": "makes the kernels of a convolution from tokens",
    "DabDetrMLP.layers.#: role": "scales queries; the name says query_scale",
    "PatchTSMixerGatedAttention.attn_layer: role": "the gate of a mixer that has no attention",
    "Sam3*DecoderMLP.layer#: role": "position biases; the name says box_rpb_embed",
    "Sam3TrackerVideoFeedForward.layers.#: role": "the name says object_pointer_proj",
    "Sam3TrackerVideoModel.mask_downsample: 1": "a filter of one channel that is not called so",
    "Zamba2MLP.gate_up_proj_adapter_list.#.#: role": "a low-rank adapter that is a part of the model",
}
"""`class.attribute: what is said of it`, with `*` for any text, where the oracle is wrong or knows more."""

_SEQUENCE: Final = "numbers of a list in place of names"

OTHERWISE_ON_DISK: Final[Mapping[str, str]] = {
    "*_conv1d.weight": "convolutions of queries, keys and values, which the module has as one",
    "*.compressor.ape": "positions, which the module calls a bias",
    "*.W_down.weight": "a low-rank part of a norm",
    "*.W_up.weight": "a low-rank part of a norm",
    "log_softmax.mlp.layer0.weight": "the head, under the name of an MLP",
    "audio_encoder.audio_adapter.proj.#.weight": _SEQUENCE,
    "model.resampler_model.*_linear.#.weight": _SEQUENCE,
    "flow_lm.flow_net.*": "a head whose path does not say head",
    "vit.perceive.*": "a projector whose path does not say so",
    "model.visual.proj_*.weight": "a projector whose path does not say so",
    "model.llm.attn_res.attn_queries.#": "queries that are learned, under the name of an attention",
    "model.audio.encoder.weight": "an embedding whose path does not say so",
    "model.visual.layers.linear_?.weight": "projections whose names do not say so",
    "patch_merge_mlp.linear_*.weight": "a projector that is called an MLP",
    "vision_tower.vision_model.embeddings.patch_embedding.weight": "called proj in the module",
    "*wte.*embedding": "the embedding in two pieces",
    "*.sortformer_modules.*.weight": "a classifier whose path does not say so",
    "paligemma_with_expert.gemma_expert.lm_head.weight": "the embedding, stored as the head",
    "vision_model.conv1.weight": "the patch embedding, under the name of a convolution",
    "segmentation_head.reassemble.readout_projects.#.weight": "its path says head",
}
"""Names on disk, numbers as `#`, that mean another role than the module's, or other pieces."""
