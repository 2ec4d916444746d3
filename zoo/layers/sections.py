"""Which section of a config.json speaks of a module: `vision_config`, `text_config`, ...

Reads defensively: a config is a file somebody else wrote, so every value may be of any type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_TEXT: Final = ("text_config", "llm_config", "language_config", "thinker_config")
"""Sections of the language model, which has the modules that no other section is named after."""
_ALIASES: Final = {
    "vision": ("vision", "visual", "image", "vit"),
    "visual": ("vision", "visual", "image"),
    "vit": ("vision", "visual", "image", "vit"),
    "audio": ("audio", "speech", "sound"),
    "speech": ("audio", "speech", "sound"),
}
"""Beginnings of module names that a section of this name speaks of; else its own name alone."""
_SIGNS_OF_A_MODEL: Final = frozenset(
    "model_type hidden_size num_hidden_layers num_attention_heads num_layers num_heads d_model n_embd"
    " n_layer n_head embed_dim width heads layers".split()
)
"""A section with none of these keys describes no model (quantisation, rotary scaling, ...)."""
_MAX_DEPTH: Final = 4
"""Sections within sections that are followed: a talker's code predictor is the third level."""

Section = Mapping[str, object]
"""Settings of one part of a model."""


def section_for(module: str, config: Section) -> tuple[Section, tuple[str, ...]]:
    """Settings that speak of `module` (a dotted path), and the `model_type`s they stand under.

    The innermost `model_type` comes first. The language model also has what stands around its
    section; a tower of another modality does not.
    """
    words = [word for word in module.lower().split(".") if word]
    values, families = config, _family(config)
    for _ in range(_MAX_DEPTH):
        sections = _sections(values)
        key = _named_after(words, sections) or next((k for k in _TEXT if k in sections), None)
        if key is None:
            break
        section = sections[key]
        families = [*_family(section), *families]
        around = {k: v for k, v in values.items() if k != key} if key in _TEXT else {}
        values = {**around, **section}
    return values, tuple(dict.fromkeys(families))


def _sections(config: Section) -> dict[str, Section]:
    """The settings of parts that `config` holds, by key."""
    return {
        key: value
        for key, value in config.items()
        if isinstance(key, str)
        and isinstance(value, Mapping)
        and not _SIGNS_OF_A_MODEL.isdisjoint(value)
    }


def _named_after(words: list[str], sections: dict[str, Section]) -> str | None:
    """The section that the first fitting word of a path is named after."""
    for word in words:
        for key in sorted(sections, key=len, reverse=True):  # talker_text before talker
            stem = key.removesuffix("_config").lower()
            if word == stem or any(
                word == start or word.startswith(f"{start}_")
                for start in _ALIASES.get(stem, (stem,))
            ):
                return key
    return None


def _family(section: Section) -> list[str]:
    """The `model_type` of a section, where it has one."""
    kind = section.get("model_type")
    return [kind] if isinstance(kind, str) and kind else []
