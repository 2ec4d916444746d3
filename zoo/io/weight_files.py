"""Which file names are weights, and of which container. The one place that decides; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

Container = Literal["safetensors", "gguf", "pickle"]
"""A kind of file that holds tensors."""

SUFFIXES: Final[Mapping[Container, tuple[str, ...]]] = {
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "pickle": (".bin", ".pt", ".pth", ".ckpt"),
}
"""How the names of a container's files end; the containers in the order of preference."""

WEIGHT_SUFFIXES: Final = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""How the name of any weight file ends."""

_TRAINING_STATE = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|trainer_state)[^/]*$"
)
"""File names of what a training run keeps beside the weights."""


def is_weight_file(name: str) -> bool:
    """True for a name that ends like a container of weights, whatever is inside."""
    return name.endswith(WEIGHT_SUFFIXES)


def is_training_state(name: str) -> bool:
    """True for the state of an optimizer, a scheduler or a random generator, as trainers name it."""
    return bool(_TRAINING_STATE.search(name.lower()))


def is_model_file(name: str) -> bool:
    """True for a weight file that is no training state: part of a model."""
    return is_weight_file(name) and not is_training_state(name)
