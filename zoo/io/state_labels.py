"""What the name of a file or folder says about the state of the model that it holds. Pure.

`mylora-000004`, `enc_fp8_e4m3fn`, `checkpoint-500`, `best`, `v1-5-emaonly`: a step, a precision, an
average, and the rest of the name, which the states of one model share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from zoo.io.gguf_kinds import PRECISION_OF_GGUF

_NOT_AVERAGED = re.compile(r"(?:non|no|without)[-_]?ema", re.IGNORECASE)
"""Says that the weights are no average."""
_AVERAGES = frozenset(("ema", "emaonly", "swa", "averaged", "average", "avg", "teacher"))
"""Words for an average of the weights."""
WORDS: Final = ("last", "latest", "final", "best")
"""Words for a state that is no numbered one, the preferred one last."""
_PRECISION = re.compile(
    r"(?:b|bf|f|fp|float|bfloat|int|i|q|nf|mxfp|nvfp)(?:4|8|16|32|64)|half|[48]bit|e\d+m\d+(?:fn)?(?:u?z)?"
    r"|w\d+a\d+|scaled|quant(?:ized)?"
)
"""A word that tells a precision."""
_NEUTRAL = frozenset(
    "checkpoint checkpoints ckpt ckpts step steps epoch epochs ep e s iter iteration iterations global"
    " model models weights pytorch state dict val valid train loss acc accuracy metric score".split()
)
"""Words that any state of any model may have in its name."""
_ALTERNATIVES = frozenset(
    "seed fold run trial split member worker replica task part head device gpu node rank encoder"
    " decoder unet transformer expert layer block stage dense".split()
)
"""Words whose number tells models, or parts of one, apart that are no steps of one another."""
_SHARD = re.compile(r"[-_.]\d{1,6}[-_]of[-_]\d{1,6}")
"""The number of a shard, which says nothing about the state."""
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
"""A run of letters, or of digits."""


@dataclass(frozen=True, slots=True)
class StateLabel:
    """A name, taken apart."""

    rest: tuple[str, ...]
    """Words that tell what the model is: equal for all states of one model."""
    numbers: tuple[int, ...]
    """Numbers that may be steps, epochs or versions."""
    alternatives: tuple[int, ...]
    """Numbers that are no steps: of seeds, folds, runs."""
    word: int
    """Rank of a word such as `best`; -1 without one."""
    precision: tuple[str, ...]
    """Words that tell the precision."""
    is_average: bool
    """True for an average of weights."""


def state_label(name: str) -> StateLabel:
    """What `name`, a path without its ending, says."""
    rest: list[str] = []
    numbers: list[int] = []
    alternatives: list[int] = []
    precision: list[str] = []
    word, averaged, before = -1, False, ""
    precision += [match[0].lower() for match in PRECISION_OF_GGUF.finditer(name)]
    bare = _SHARD.sub("", PRECISION_OF_GGUF.sub("", name))
    for part in re.split(r"[^\w]+|_", _NOT_AVERAGED.sub("", bare).lower()):
        if _PRECISION.fullmatch(part):
            precision.append(part)
            continue
        for token in _TOKEN.findall(part):
            if token.isdigit():
                (alternatives if before in _ALTERNATIVES else numbers).append(int(token))
            elif token in _AVERAGES:
                averaged = True
            elif token in WORDS:
                word = max(word, WORDS.index(token))
            elif token not in _NEUTRAL:
                rest.append(token)
            before = token
    return StateLabel(
        tuple(rest), tuple(numbers), tuple(alternatives), word, tuple(precision), averaged
    )
