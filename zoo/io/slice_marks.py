"""Which slice of a model a file holds that was written for one of several devices. Pure.

`model1-mp2`, `consolidated.01`, `mp_rank_01_000/model_optim_rng`, `tp_rank_01_pp_rank_000`,
`rank1`, `layer_03-model_01-model_states`: the part of each tensor, and of the layers, that it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_EDGE = r"(?:^|(?<=[-_./]))"
"""Where a word of a name starts."""
_PATTERNS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern + r"(?=$|[-_./])", re.IGNORECASE)
    for pattern in (
        _EDGE + r"layer_(?P<layer>\d+)(?:-model_(?P<tensor>\d+))?-model_states",
        r"(?P<tensor>\d+)-mp(?P<num>\d+)",
        _EDGE + r"mp[-_]?rank[-_]?(?P<tensor>\d+)(?:_(?P<pipeline>\d{3}))?(?:_(?P<expert>\d{3}))?",
        _EDGE + r"pp[-_]?(?:rank[-_]?)?(?P<pipeline>\d+)(?:-of-\d+)?[-_/]"
        r"tp[-_]?(?:rank[-_]?)?(?P<tensor>\d+)(?:-of-(?P<num>\d+))?",
        _EDGE + r"tp[-_]?rank[-_]?(?P<tensor>\d+)(?:-of-(?P<num>\d+))?"
        r"(?:[-_/]pp[-_]?rank[-_]?(?P<pipeline>\d+)(?:-of-\d+)?)?",
        _EDGE + r"(?:tp|mp)[-_]?(?P<tensor>\d+)-of-(?P<num>\d+)",
        _EDGE + r"(?P<unsure>tp|mp)[-_]?(?P<tensor>\d+)(?:[-_/]pp[-_]?(?P<pipeline>\d+))?",
        _EDGE + r"pp[-_]?rank[-_]?(?P<pipeline>\d+)(?:-of-\d+)?",
        _EDGE + r"(?P<unsure>pp)[-_]?(?P<pipeline>\d+)",
        _EDGE + r"(?P<unsure>model[-_]?part|shard|partition|slice)[-_]?(?P<tensor>\d+)",
        _EDGE + r"consolidated\.(?P<tensor>\d\d)",
        r"(?P<unsure>\.)(?P<tensor>\d\d)$",
        _EDGE + r"(?P<unsure>rank)[-_]?(?P<tensor>\d+)",
    )
)
"""How programs that train on several devices name what each of them saves."""


@dataclass(frozen=True, slots=True)
class SliceMark:
    """What a name says."""

    base: str
    """The name without the mark: equal for all slices of a model."""
    tensor: int
    """Which part of every tensor."""
    pipeline: int
    """Which part of the layers."""
    layer: int | None
    """The layer that the file holds, where each has files of its own."""
    expert: int
    """Which part of the experts."""
    num: int | None
    """How many parts each tensor has, where the name tells."""
    is_sure: bool
    """False for a name that programs also give to whole copies (`rank0`) or versions (`.01`)."""


def slice_mark(name: str) -> SliceMark | None:
    """What `name`, a path without its ending, says; None for a file that is no slice."""
    for pattern in _PATTERNS:
        if match := pattern.search(name):
            groups = match.groupdict()
            layer = groups.get("layer")
            return SliceMark(
                name[: match.start()] + "*" + name[match.end() :],
                int(groups.get("tensor") or 0),
                int(groups.get("pipeline") or 0),
                None if layer is None else int(layer),
                int(groups.get("expert") or 0),
                int(groups["num"]) if groups.get("num") else None,
                groups.get("unsure") is None,
            )
    return None
