"""What a tensor is called in every state of a model: its name without wrappers and words of states.

`module.model_ema.blocks.0.weight` is `blocks.0.weight` in the state `module.model_ema`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from zoo.io.header import TensorMeta
from zoo.io.weight_files import is_training_tensor

_CLEAR_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "state_dict",
     "model_state_dict")
)  # fmt: skip
"""Components of names that wrap a whole model and mean nothing else."""
_WRAPPERS = _CLEAR_WRAPPERS | {
    "model", "net", "network", "params", "weights", "extra_state", "checkpoint", "ckpt",
}  # fmt: skip
"""Components that may wrap a whole model."""
_AVERAGES = "ema|swa|shadow|averaged|polyak|momentum|teacher|target"
"""Words for a state that follows another one slowly."""
_TRAINED = "non_ema|student|online"
"""Words for the state that is followed."""
_AFFIX = re.compile(
    rf"(?:^|(?<=_))(?:{_TRAINED}|{_AVERAGES})(?:_|$)|^base_(?=encoder$)|(?<=[a-z])_m$",
    re.IGNORECASE,
)
"""A word of a state as part of a component: `state_dict_ema`, `momentum_encoder`, and ALBEF's
`visual_encoder_m`."""
_KEPT = "avg|average|best|old|copy|backup|init|initial|prev|previous|encoder_k"
"""Words for a state that was kept beside the one that trained on."""
_WHOLE = re.compile(rf"^(?:{_KEPT}|raw|current|last|latest|final|encoder_q)$", re.IGNORECASE)
"""Components that are words of states only when they stand alone."""
_AVERAGE = re.compile(
    rf"(?:^|[._])(?:(?<!non_)(?:{_AVERAGES})|{_KEPT})(?=$|[._])|[a-z]_m$",
    re.IGNORECASE,
)
"""A word in the label of a state that another one is preferred to."""
_ENDINGS_OF_CODES = ("qweight", "q_weight", "weight_packed", "W_q", "_weight_qdata", "_blocks")
"""What the last components end with under which formats keep the codes of a `weight`."""
_CODES = re.compile(r"(?:^|(?<=\.))(?:qweight|q_weight|weight_packed|W_q|_weight_qdata)$|_blocks$")
"""Those components."""
_PREFERRED = ("", "model", "state_dict", "model_state_dict", "module")
"""Labels that say least, the preferred one first."""


@dataclass(frozen=True, slots=True)
class CoreName:
    """A name, taken apart."""

    label: str
    """The components that wrap the model or tell its state: `module.model_ema`; often empty."""
    core: str
    """The rest, which all states of the model share."""


def core_name(name: str) -> CoreName:
    """`name` taken apart. The last component always belongs to the core."""
    parts = name.split(".")
    at, kept = 0, ""
    while at < len(parts) - 1:
        bare = _bare(parts[at])
        if bare:
            if bare != parts[at]:  # the state of one module of the model
                at, kept = at + 1, bare
            break
        at += 1
    core = ".".join([kept, *parts[at:]] if kept else parts[at:])
    if core.endswith(_ENDINGS_OF_CODES):
        core = _CODES.sub(_plain, core)
    return CoreName(".".join(parts[:at]), core)


@lru_cache(maxsize=4096)
def _bare(part: str) -> str:
    """A component without words of states; empty for one that says nothing else, or wraps."""
    if part in _WRAPPERS or _WHOLE.match(part):
        return ""
    bare = _AFFIX.sub("", part).rstrip("_")
    return "" if bare in _WRAPPERS else bare


def _plain(codes: re.Match[str]) -> str:
    """What the weight is called that is stored as codes: two precisions share its name."""
    return "" if codes[0] == "_blocks" else "weight"


def is_average(label: str) -> bool:
    """True for a state that follows another one, or was kept for another reason than being last."""
    return bool(_AVERAGE.search(label))


def is_clear_wrapper(label: str) -> bool:
    """True for a label of words that wrap whole models and mean nothing else."""
    return all(part in _CLEAR_WRAPPERS for part in label.split("."))


def preference(label: str) -> tuple[bool, int, str]:
    """Order of the labels of one model's states: what was trained before what averages it."""
    rank = _PREFERRED.index(label) if label in _PREFERRED else len(_PREFERRED)
    return is_average(label), rank, label


def matrices_by_core(tensors: Mapping[str, TensorMeta]) -> dict[str, TensorMeta]:
    """What may be a weight, by its core name; of several states in one file the preferred one."""
    matrices = [(core_name(name), meta) for name, meta in tensors.items() if is_matrix(meta)]
    matrices.sort(key=lambda pair: preference(pair[0].label), reverse=True)
    return {core.core: meta for core, meta in matrices}


def is_matrix(meta: TensorMeta) -> bool:
    """True for what may be a weight: two axes or more that are not of length 1, no training state."""
    return sum(size > 1 for size in meta.shape) >= 2 and not is_training_tensor(meta.name)
