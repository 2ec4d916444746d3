"""Random inputs by modality, seeded: uniform tokens, Gaussian pixels, features and sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from zoo.probes.network import Inputs, UnprobeableError

DEFAULT_TOKENS: Final = 32
"""Tokens of a probe, unless the spec says otherwise or the network takes fewer."""
_DECODED: Final = 4
"""Tokens that the decoder of an encoder-decoder network is given."""
_SAMPLES: Final = 16_000
"""Samples of sound: one second at the usual rate."""
_LENGTHS: Final = (
    "max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "max_target_positions",
)  # fmt: skip


def of_config(config: Mapping[str, Any], *keys: str, default: Any = None) -> Any:
    """The first of `keys` that a configuration has, in itself or its text, vision or audio part."""
    parts = [config, *(config.get(f"{part}_config") for part in ("text", "vision", "audio"))]
    for part in parts:
        for key in keys:
            if isinstance(part, Mapping) and part.get(key) is not None:
                return part[key]
    return default


def tokens(
    count: int, generator: torch.Generator, config: Mapping[str, Any], length: int | None
) -> torch.Tensor:
    """Uniform token ids [count, length]; UnprobeableError without a vocabulary in the config."""
    vocabulary = of_config(config, "vocab_size")
    if not isinstance(vocabulary, int) or vocabulary < 2:
        raise UnprobeableError(
            f"random tokens: config.json has vocab_size {vocabulary!r}; wanted a whole number"
        )
    size = (count, num_tokens(config, length))
    return torch.randint(0, vocabulary, size, generator=generator)


def num_tokens(config: Mapping[str, Any], length: int | None) -> int:
    """Tokens of a probe: `length`, or the default, and no more than the network takes."""
    most = of_config(config, *_LENGTHS)
    wanted = length or DEFAULT_TOKENS
    # a table of positions may begin behind the padding (RoBERTa): two fewer are always there
    return min(wanted, max(1, most - 2)) if isinstance(most, int) and most > 0 else wanted


def draw_for(
    name: str,
    count: int,
    generator: torch.Generator,
    config: Mapping[str, Any],
    *,
    length: int | None,
    dtype: torch.dtype,
) -> Inputs:
    """Inputs of a transformers model whose main input is called `name`."""
    inputs: dict[str, Any] = {}
    if name == "input_ids":
        inputs["input_ids"] = tokens(count, generator, config, length)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    elif name == "pixel_values":
        size = of_config(config, "image_size", default=224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        channels = of_config(config, "num_channels", "in_channels", default=3)
        shape = (count, channels, height, width)
        inputs[name] = torch.randn(shape, generator=generator).to(dtype)
    elif name == "input_features":
        bins = of_config(config, "num_mel_bins", default=80)
        frames = 2 * of_config(config, "max_source_positions", default=1500)
        inputs[name] = torch.randn(count, bins, frames, generator=generator).to(dtype)
    elif name == "input_values":
        inputs[name] = torch.randn(count, _SAMPLES, generator=generator).to(dtype)
    else:
        raise UnprobeableError(
            f"no random input for a network whose main input is {name!r}; wanted tokens, pixels, "
            "features or sound. Name a factory that makes its own"
        )
    if config.get("is_encoder_decoder"):
        inputs["decoder_input_ids"] = tokens(count, generator, config, _DECODED)
    if "text_config" in config and "vision_config" in config:
        other = "pixel_values" if name == "input_ids" else "input_ids"
        if config.get("model_type") in _TWO_TOWERS:
            inputs |= draw_for(
                other,
                count,
                generator,
                {k: v for k, v in config.items() if k != "is_encoder_decoder"}
                if other == "pixel_values"
                else config["text_config"],
                length=length,
                dtype=dtype,
            )
    return inputs


_TWO_TOWERS: Final = frozenset(
    {"clip", "siglip", "siglip2", "chinese_clip", "altclip", "metaclip_2"}
)
"""Networks that compare a picture with a text and need both."""
