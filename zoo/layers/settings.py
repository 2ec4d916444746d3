"""The numbers of a model's config.json that decide how fused tensors are laid out.

Reads defensively: a config is a file somebody else wrote, so every value may be of any type.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from zoo.layers.sections import section_for

_NESTED: Final = ("attn_config", "ffn_config")
"""Sections in which DBRX and MPT keep settings that other models have at the top."""
_GGUF: Final = {
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "embedding_length": "hidden_size",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.value_length": "v_head_dim",
    "attention.value_length_mla": "v_head_dim",
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
    families: tuple[str, ...] = ()
    """Its `model_type` and those of the models it is a part of, from the inside out."""

    def is_of(self, families: Container[str]) -> bool:
        """True when the part, or a model it belongs to, is of one of these types."""
        return any(kind in families for kind in self.families)

    def is_like(self, *beginnings: str) -> bool:
        """True when the type of the part, or of a model it belongs to, begins with one of these."""
        return any(kind.startswith(beginnings) for kind in self.families)

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
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "encoder_attention_heads",
            "heads",
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
        return self.count("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "width")

    @property
    def head_dim(self) -> int | None:
        """Width of one head."""
        declared = self.count("head_dim", "kv_channels", "d_kv", "d_head")
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
        values = {
            ours: config[f"{architecture}.{theirs}"]
            for theirs, ours in _GGUF.items()
            if f"{architecture}.{theirs}" in config
        }
        return Settings(architecture, values, (architecture,))
    section, families = section_for(module, config)
    values = dict(section)
    for key in _NESTED:
        nested = values.get(key)
        if isinstance(nested, Mapping):
            values = {**nested, **values}
    return Settings(families[0] if families else "", values, families)


def _expert_counts(values: Mapping[str, object]) -> Iterator[int]:
    for key, value in values.items():
        if key == "per_layer_config" and isinstance(value, Mapping):
            for layer in value.values():
                yield from _expert_counts(layer) if isinstance(layer, Mapping) else ()
        if "expert" not in key or re.search(r"per_tok|shared|top_?k|group|size|_idx", key):
            continue
        counts = value if isinstance(value, list) else [value]
        yield from (n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n > 1)
