"""Rank and alpha of an update from whatever names them, PEFT's own file apart.

MLX's `lora_parameters`, the headers that diffusers and kohya write, and sections of a model's
config.json such as Phi-4's `speech_lora`. Reads defensively: any value may be of any type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_ALPHA_KEYS: Final = ("lora_alpha", "network_alpha", "alpha")
"""Keys under which a section of a config gives alpha."""
_RANK_KEYS: Final = ("r", "rank", "lora_r", "lora_rank", "network_dim", "lora_dim")
"""Keys under which it gives the rank."""
_MAX_DEPTH: Final = 4
"""Sections nested deeper in a config are not looked at."""


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """What is known of one module's update before its factors are read."""

    alpha: float | None
    """LoRA's alpha; None when nothing tells it."""
    use_rslora: bool = False
    """True when the update is scaled by alpha/√rank instead of alpha/rank."""
    fault: str | None = None
    """Why the update cannot be computed."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of a config that gives alpha and rank."""

    path: str
    """Keys from the top, joined by dots."""
    rank: float
    alpha: float
    use_rslora: bool


def number(value: object) -> float | None:
    """A finite number that is no boolean, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def mlx_settings(config: Mapping[str, object], rank: int) -> UpdateSettings:
    """From MLX's `lora_parameters`: s = scale, and scale·alpha/rank where there is an alpha."""
    parameters = config.get("lora_parameters")
    section: Mapping[str, object] = parameters if isinstance(parameters, Mapping) else {}
    declared, scale, alpha = (number(section.get(key)) for key in ("rank", "scale", "alpha"))
    if config.get("fine_tune_type") == "dora":
        return UpdateSettings(
            None, fault="dora: the update depends on the base model, which is not here"
        )
    if declared is not None and declared != rank:
        contrary = f"adapter_config.json says {declared:g}"
        return UpdateSettings(None, fault=f"lora: factors of rank {rank}, {contrary}")
    if scale is None:
        stored = section.get("scale")
        problem = f"scale in adapter_config.json is {stored!r}, wanted a number"
        return UpdateSettings(None, fault=f"lora: {problem}")
    return UpdateSettings(scale * (rank if alpha is None else alpha))


def settings_in_model(
    adapter: str, rank: int, config: Mapping[str, object], header: Mapping[str, str]
) -> UpdateSettings:
    """From a model's config, or from kohya's header; neither alpha nor a fault when none says.

    `adapter` is the name that the tensors give the adapter. A section of that name counts, else
    all of them, as far as they agree.
    """
    sections = list(_sections(config, ""))
    named = [s for s in sections if adapter and adapter in s.path]
    chosen = named or (sections if not adapter or len(sections) == 1 else [])
    if sections and not chosen:
        paths = ", ".join(s.path or "its top" for s in sections[:4])
        problem = f"config.json gives alpha for {paths}, not for {adapter!r}"
        return UpdateSettings(None, fault=f"lora: {problem}")
    fitting = {(s.alpha, s.use_rslora) for s in chosen if s.rank == rank}
    if len(fitting) == 1:
        return UpdateSettings(*fitting.pop())
    if chosen:
        ranks = ", ".join(f"rank {s.rank:g} alpha {s.alpha:g} ({s.path})" for s in chosen[:4])
        return UpdateSettings(None, fault=f"lora: factors of rank {rank}, config.json says {ranks}")
    return _kohya(rank, header)


def header_settings(text: str, header: Mapping[str, str]) -> Mapping[str, Mapping[str, object]]:
    """The configurations in `{"transformer.lora_alpha": 16, ...}`, as diffusers writes them.

    PEFT's own settings, where a header holds them under `adapter_config`, cover every tensor.
    """
    whole = _json_object(header.get("adapter_config", ""))
    if number(whole.get("lora_alpha")) is not None or "peft_type" in whole:
        return {"": whole}
    by_prefix: dict[str, dict[str, object]] = {}
    for key, value in _json_object(text).items():
        component, dot, setting = key.rpartition(".")
        by_prefix.setdefault(component + dot, {})[setting] = value
    return {prefix: config for prefix, config in by_prefix.items() if "lora_alpha" in config}


def _kohya(rank: int, header: Mapping[str, str]) -> UpdateSettings:
    """From `ss_network_dim` and `ss_network_alpha`, and those of kernels in `ss_network_args`."""
    arguments = _json_object(header.get("ss_network_args", ""))
    pairs = [
        (_parsed(header.get("ss_network_dim")), _parsed(header.get("ss_network_alpha"))),
        (_parsed(arguments.get("conv_dim")), _parsed(arguments.get("conv_alpha"))),
    ]
    named = [(dim, alpha) for dim, alpha in pairs if alpha is not None]
    if not named:
        return UpdateSettings(None)
    fitting = {alpha for dim, alpha in named if dim in (None, float(rank))}
    if len(fitting) == 1:
        return UpdateSettings(fitting.pop())
    ranks = ", ".join(f"rank {dim} alpha {alpha}" for dim, alpha in named)
    return UpdateSettings(None, fault=f"lora: factors of rank {rank}, the header says {ranks}")


def _sections(config: Mapping[str, object], path: str, depth: int = 0) -> Iterator[_Section]:
    """Every section of a config that gives both alpha and rank, from the top down."""
    alphas = [number(config.get(key)) for key in _ALPHA_KEYS]
    ranks = [number(config.get(key)) for key in _RANK_KEYS]
    alpha = next((a for a in alphas if a is not None), None)
    rank = next((r for r in ranks if r is not None), None)
    if alpha is not None and rank is not None:
        yield _Section(path, rank, alpha, config.get("use_rslora") is True)
    for key, value in config.items():
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from _sections(value, f"{path}.{key}" if path else str(key), depth + 1)


def _parsed(text: object) -> float | None:
    """A number that a header holds as text."""
    try:
        return number(float(text)) if isinstance(text, str | int | float) else None
    except ValueError:
        return None


def _json_object(text: str) -> dict[str, object]:
    """The JSON object in `text`; empty when there is none."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
