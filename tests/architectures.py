"""Every architecture of the installed `transformers`, built without memory on the meta device.

Widths are the defaults of each configuration, so shapes are those of real models; the depth is cut.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

DEPTH: Final = 6
"""Blocks of a stack: enough for one of each kind in hybrids."""
_DEPTH_KEYS: Final = (
    "num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers num_encoder_layers"
    " num_decoder_layers depth num_blocks layers num_hidden_groups"
).split()
"""Settings that count blocks."""
_TASKS: Final = (
    "CAUSAL_LM MASKED_LM IMAGE_TEXT_TO_TEXT MULTIMODAL_LM SEQ_TO_SEQ_CAUSAL_LM SPEECH_SEQ_2_SEQ CTC RNNT"
    " TDT IMAGE_CLASSIFICATION AUDIO_CLASSIFICATION VIDEO_CLASSIFICATION OBJECT_DETECTION"
    " UNIVERSAL_SEGMENTATION INSTANCE_SEGMENTATION SEMANTIC_SEGMENTATION DEPTH_ESTIMATION"
    " MASK_GENERATION ZERO_SHOT_OBJECT_DETECTION ZERO_SHOT_IMAGE_CLASSIFICATION TEXT_TO_WAVEFORM"
    " TEXT_TO_SPECTROGRAM TIME_SERIES_PREDICTION KEYPOINT_DETECTION KEYPOINT_MATCHING PRETRAINING"
    " VISUAL_QUESTION_ANSWERING POSE_ESTIMATION TEXT_RECOGNITION TABLE_RECOGNITION IMAGE_MATTING"
    " IMAGE_TO_IMAGE MASKED_IMAGE_MODELING RETRIEVAL SEQUENCE_CLASSIFICATION BACKBONE"
).split()
"""Tasks of the auto classes; a model is built with the head of the first that it has."""

_RESNET: Final = {
    "use_timm_backbone": False,
    "backbone": None,
    "backbone_config": {"model_type": "resnet", "out_features": ["stage2", "stage3", "stage4"]},
}
"""A backbone that needs no package beside `transformers`."""
_LAST_STAGE: Final = {
    **_RESNET,
    "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]},
}
_INDEXER: Final = {
    "indexer_n_heads": 8,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 128,
    "indexer_budget": 2048,
    "indexer_compress_ratio": 4,
}

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "autoformer": {"prediction_length": 24},
    "informer": {"prediction_length": 24},
    "time_series_transformer": {"prediction_length": 24},
    "chameleon": {"vocabulary_map": {"<image>": 4}},
    "emu3": {"vocabulary_map": {"<image>": 4}},
    "conditional_detr": _LAST_STAGE,
    "dab-detr": _LAST_STAGE,
    "detr": _LAST_STAGE,
    "table-transformer": _LAST_STAGE,
    "deformable_detr": _RESNET,
    "omdet-turbo": {
        **_RESNET,
        "backbone_config": {"model_type": "swin", "out_features": ["stage2", "stage3", "stage4"]},
    },
    "dbrx": {"attn_config": {"rope_theta": 5e5, "clip_qkv": 8, "kv_n_heads": 8}},
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {"text_config": {"model_type": "hunyuan_vl_text", "head_dim": 128}},
    "hunyuan_vl_text": {"head_dim": 128},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8, "head_dim": 128},
    "lfm2_moe": {
        "layer_types": ["conv", "conv", "full_attention", "conv", "conv", "full_attention"],
        "num_hidden_layers": 6,
    },
    "t5gemma2_encoder": {"text_config": {"dropout_rate": 0.0}},
    "diffusion_gemma": {"text_config": {"num_experts": 8, "moe_intermediate_size": 512}},
    "qwen4_exp": {"text_config": {"model_type": "qwen4_exp_text", **_INDEXER}},
    "qwen4_exp_text": _INDEXER,
    "vitmatte": {"fusion_hidden_sizes": [256, 128, 64, 32]},
    "jamba": {"num_hidden_layers": 8},
}
"""Settings for configurations whose defaults build no model, or not all kinds of its blocks."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model on the meta device and its config.json."""

    model: torch.nn.Module
    config: Mapping[str, object]


class CannotBuildError(Exception):
    """No class of a model type can be built from its configuration; the text says why."""


def model_types() -> list[str]:
    """Every `model_type` for which an auto class has a model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return sorted(kind for kind in CONFIG_MAPPING_NAMES if list(_classes(kind)))


def build(model_type: str) -> Architecture:
    """The model of the first task that can be built. Raises CannotBuildError."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    reasons = []
    for name in _classes(model_type):
        for is_short in (True, False):
            try:
                with warnings.catch_warnings(), torch.device("meta"):
                    warnings.simplefilter("ignore")
                    config_class = CONFIG_MAPPING[model_type]
                    settings = dict(SETTINGS.get(model_type, {}))
                    config = config_class(**settings)
                    if is_short:
                        config = config_class(**_merged(shortened(config), settings))
                    model = getattr(transformers, name)(config)
            except Exception as error:  # whatever a foreign constructor raises is its reason
                reasons.append(f"{name}: {type(error).__name__}: {str(error).strip()[:200]}")
            else:
                return Architecture(model, json.loads(config.to_json_string()))
    raise CannotBuildError(reasons[-1])


def stored_tensors(
    architecture: Architecture,
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of every tensor by the name that `save_pretrained` would give it."""
    from transformers.core_model_loading import revert_weight_conversion

    tensors = revert_weight_conversion(architecture.model, architecture.model.state_dict())
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def shortened(config: Any) -> dict[str, Any]:
    """Settings that cut the depth of a model and of the models it is made of."""
    from transformers import PreTrainedConfig

    settings: dict[str, Any] = {}
    for key in _DEPTH_KEYS:
        blocks = getattr(config, key, None)
        if isinstance(blocks, int) and not isinstance(blocks, bool) and blocks > DEPTH:
            settings[key] = DEPTH
    for key in getattr(type(config), "sub_configs", None) or ():
        section = getattr(config, key, None)
        if isinstance(section, PreTrainedConfig):
            settings[key] = {"model_type": section.model_type, **shortened(section)}
    return settings


def _merged(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; `more` wins."""
    merged = dict(settings)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _classes(model_type: str) -> Iterator[str]:
    """Names of the classes of a model type, by task."""
    from transformers.models.auto import modeling_auto

    tables = [f"MODEL_FOR_{task}_MAPPING_NAMES" for task in _TASKS]
    for table in (*tables, "MODEL_MAPPING_NAMES"):
        names = getattr(modeling_auto, table, {}).get(model_type, ())
        yield from (names,) if isinstance(names, str) else tuple(names)[:1]
