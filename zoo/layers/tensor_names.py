"""Where a tensor sits in its model, read from its name: module path, block, expert.

Pure functions of strings. Knows nothing of shapes or configurations.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from zoo.layers.expert_names import numbered
from zoo.layers.roles import role_of, weak_role_of

_CONTAINERS: Final = frozenset(
    "layers layer h blocks block blk stages stage resblocks transformer_blocks "
    "single_transformer_blocks "
    "down_blocks up_blocks resnets attentions albert_layer_groups albert_layers conv_layers "
    "downsamplers upsamplers motion_modules encoder_layers decoder_layers denseblock denselayer "
    "joint_blocks double_blocks single_blocks input_blocks output_blocks temp_convs".split()
)
"""Names of the lists in which models keep their blocks: a number after one counts blocks."""
_JOINED: Final = re.compile(
    r"(layer|layers|stage|block|blocks|denseblock|denselayer)_?([0-9]{1,9})"
)
"""A list's name and a block's number in one word: torchvision's `layer1`, `denseblock_2`."""
_RECURRENT: Final = re.compile(r"weight_[ih][hr]_l([0-9]{1,9})(?:_reverse)?")
"""torch's names for the weights of a recurrent layer, which end in the layer's number."""
_SUFFIX: Final = re.compile(
    r"(?:\.modules_to_save|\.base_layer)?(?:\.default)?"
    r"\.(?:weight|kernel|lora(?:\.[A-Za-z]\w*)?|merged(?:\.[A-Za-z]\w*)?)$"
    r"|\.(?:weight_[vg]|parametrizations\.weight\.original[01])$|_blocks$"
)
"""What comes after the path of the module: the word for its weight, or for one part of it."""
_NUMBER: Final = re.compile(r"(?<![^.])[0-9]{1,9}(?![^.])")
"""A word of a path that is a number."""
MAX_CHARS: Final = 512
"""Longer names are not looked at: some of the patterns take a time quadratic in their length."""
_KOHYA: Final = re.compile(r"^lora_(unet|te[0-9]?|transformer)_")
"""The start of names in which kohya wrote `_` for every dot of the path."""
_PREFIX: Final = re.compile(r"^(?:base_model\.model\.|_orig_mod\.|module\.)+")
"""What PEFT, torch.compile and DataParallel put before every name."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a name says."""

    module: str
    """Dotted path of the module, without wrappers' prefixes and without `.weight`."""
    stack: str
    """Everything before the first block number: tells an encoder from a decoder."""
    path: tuple[int, ...]
    """Block numbers from the outside in: `(3,)`, or `(stage, layer)`; empty outside blocks."""
    expert: int | None
    """Number of the expert, for experts stored one by one."""
    role: str | None
    """From the tables of `roles.py`; None when they do not know the name."""
    weak_role: str | None = None
    """What a matrix is by the weaker rules, where `role` is None; a kernel is a convolution."""


@lru_cache(maxsize=4_096)
def place(name: str) -> Place:
    """Parse one tensor name. Names above `MAX_CHARS` are nobody's convention and say nothing."""
    if len(name) > MAX_CHARS:
        return Place(name, "", (), None, None)
    module = _SUFFIX.sub("", _PREFIX.sub("", name.replace("/", ".")))
    if _KOHYA.match(module):
        module = _with_dots(module)
    expert, words = numbered(module) or (None, module)
    template = _NUMBER.sub("#", words)
    stack, path = _blocks(module)
    role = role_of(template)
    weak = weak_role_of(template) if role is None else None
    return Place(module, stack, path, expert, role, weak)


def _with_dots(module: str) -> str:
    """kohya's `lora_unet_down_blocks_0_attn1_to_q` as the path it was made from."""
    path = _KOHYA.sub(r"\1.", module)
    path = re.sub(r"_([0-9]+)(?=_|$)", r".\1", path)
    path = re.sub(r"(\.[0-9]+)_", r"\1.", path)
    path = re.sub(
        r"_((?:down_|up_|single_|double_)?blocks|layers|attentions|resnets)(?=\.[0-9])",
        r".\1",
        path,
    )
    return re.sub(r"\.(attn[12]?|self_attn|mlp|ff)_", r".\1.", path)


def _is_number(word: str) -> bool:
    """A number we believe: ASCII digits, below a thousand million."""
    return len(word) <= 9 and word.isascii() and word.isdigit()


def _blocks(module: str) -> tuple[str, tuple[int, ...]]:
    """Text before the first block number, and the block numbers."""
    words = module.split(".")
    recurrent = _RECURRENT.fullmatch(words[-1])
    if recurrent:
        return ".".join(words[:-1]), (int(recurrent[1]),)
    stack: list[str] | None = None
    path: list[int] = []
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        if before in _CONTAINERS and _is_number(word):
            if before == "layer" and path:
                continue  # T5 and ResNet: a sublayer, not a block
            number, start = int(word), i - 1
        elif joined := _JOINED.fullmatch(word):
            number, start = int(joined[2]), i
        elif path and _is_number(word) and _JOINED.fullmatch(before):
            number, start = int(word), i  # torchvision: layer1.0
        else:
            continue
        if stack is None:
            stack = words[:start]
        path.append(number)
    return ".".join(stack or ()), tuple(path)


def fallback_block(module: str) -> int | None:
    """First number in the path of a module outside any known block: `net.2` is 2."""
    return next((int(word) for word in module.split(".") if _is_number(word)), None)


def number_blocks(places: Iterable[Place]) -> Mapping[tuple[str, tuple[int, ...]], int]:
    """One block number for each `(stack, path)`.

    A path of one number keeps it. In stacks of stages the deepest paths are counted through in
    order; what belongs to a whole stage (a downsampler) gets the number of the stage's first block.
    """
    stacks: dict[str, set[tuple[int, ...]]] = {}
    for where in places:
        if where.path:
            stacks.setdefault(where.stack, set()).add(where.path)
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}
    for stack, paths in stacks.items():
        deepest = max(map(len, paths))
        if deepest == 1:
            numbers.update({(stack, path): path[0] for path in paths})
            continue
        full = sorted(path for path in paths if len(path) == deepest)
        for path in paths:
            numbers[stack, path] = bisect_left(full, path)  # a prefix sorts just before its paths
    return numbers
