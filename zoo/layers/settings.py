"""The numbers of a model's config.json that decide how fused tensors are laid out.

Reads defensively: a config is a file somebody else wrote, so every value may be of any type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_TEXT: Final = ("text_config", "llm_config", "language_config", "thinker_config")
"""Sections that hold the settings of the language model in a model of several modalities."""
_SECTIONS: Final = (
    (re.compile(r"(?:^|\.)(?:vision|visual|image_encoder|vit)\w*\."),
     ("vision_config", "visual", "vit_config")),
    (re.compile(r"(?:^|\.)(?:audio|speech)\w*\."), ("audio_config", "speech_config")),
    (re.compile(r"(?:^|\.)qformer\."), ("qformer_config",)),
    (re.compile(r"^(?:model\.)?encoder\."), ("encoder",)),
    (re.compile(r"^(?:model\.)?decoder\."), ("decoder",)),
)  # fmt: skip
"""Names of modules and the sections that hold the settings of such modules."""
_NESTED: Final = ("attn_config", "ffn_config")
"""Sections in which DBRX and MPT keep settings that other models have at the top."""
_GGUF: Final = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "embedding_length": "hidden_size",
    "expert_count": "num_experts",
}
"""What transformers calls a setting of a GGUF file."""
_MAX_COUNT: Final = 1 << 24
"""A larger number in a config is not believed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the config says about the part of the model that a tensor belongs to."""

    model_type: str
    """`model_type` of that part, or an empty string."""
    values: Mapping[str, object]
    """Its settings; nested attention and feed-forward settings are merged in."""

    def count(self, *keys: str) -> int | None:
        """The first of `keys` that holds a positive integer."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_COUNT:
                return value
        return None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean setting."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else default

    @property
    def heads(self) -> int | None:
        """Number of query heads."""
        return self.count(
            "num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"
        )

    @property
    def kv_heads(self) -> int | None:
        """Number of key and value heads; the number of query heads unless the config says less."""
        declared = self.count(
            "num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_n_heads", "n_head_kv"
        )
        return declared or self.heads

    @property
    def hidden(self) -> int | None:
        """Width of the residual stream."""
        return self.count("hidden_size", "n_embd", "d_model", "dim", "embed_dim")

    @property
    def head_dim(self) -> int | None:
        """Width of one head."""
        declared = self.count("head_dim", "kv_channels", "d_kv")
        if declared is not None or self.hidden is None or self.heads is None:
            return declared
        return self.hidden // self.heads if self.hidden % self.heads == 0 else None

    @property
    def expert_counts(self) -> frozenset[int]:
        """Every number of experts a block may have by this config; empty when it names none."""
        return frozenset(_expert_counts(self.values))


def settings_for(module: str, config: Mapping[str, object]) -> Settings:
    """The settings of the part of the model that `module` (a dotted path) belongs to."""
    architecture = config.get("general.architecture")
    if isinstance(architecture, str):  # the pairs of a GGUF file
        values = {ours: config.get(f"{architecture}.{theirs}") for theirs, ours in _GGUF.items()}
        return Settings(architecture, values)
    for pattern, keys in _SECTIONS:
        if pattern.search(module):
            for key in keys:
                section = config.get(key)
                if isinstance(section, Mapping):
                    return _settings({}, section)
    for key in _TEXT:
        section = config.get(key)
        if isinstance(section, Mapping):
            inner = next((section[k] for k in _TEXT if isinstance(section.get(k), Mapping)), None)
            return _settings(config, inner if isinstance(inner, Mapping) else section)
    return _settings({}, config)


def _settings(outer: Mapping[str, object], section: Mapping[str, object]) -> Settings:
    values = {**outer, **section}
    for key in _NESTED:
        nested = values.get(key)
        if isinstance(nested, Mapping):
            values = {**nested, **values}
    model_type = section.get("model_type") or outer.get("model_type")
    return Settings(model_type if isinstance(model_type, str) else "", values)


def _expert_counts(values: Mapping[str, object]) -> Iterator[int]:
    for key, value in values.items():
        if "expert" not in key or re.search(r"per_tok|shared|top_?k|group|size|_idx", key):
            continue
        counts = value if isinstance(value, list) else [value]
        yield from (n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n > 1)
