"""Pairs of low-rank factors, recognised by how they are named and shaped, whoever wrote them.

Two matrices whose names differ in one word for first and second (A and B, a and b, down and up, in
and out), in a module or word that says LoRA, and whose shapes share an inner dimension. Most store
A as `[r, in]` and B as `[out, r]`; MLX stores `[in, r]` and `[r, out]`. Knows no configuration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from zoo.formats.weight import Weight
from zoo.layers.tensor_names import MAX_CHARS

_SECOND: Final = {"A": "B", "a": "b", "down": "up", "in": "out"}
"""The word for the factor that is applied second, by the word for the first."""
_MARK: Final = re.compile(r"(?P<head>.*?)(?P<gap>^|_|(?<=lora))(?P<mark>A|B|a|b|down|up|in|out)$")
"""A word of a name that ends in the word for a factor."""
_LORA: Final = re.compile(r"_?lora(?!_?(?:unet|te[0-9]?|transformer)_)", re.IGNORECASE)
"""The word LoRA, but not as kohya puts it before every name."""
_WRAPPERS: Final = re.compile(r"\.(?:processor|lora_linear_layer)$")
"""What diffusers once put between a module and its factors; no part of the module's path."""
_ALPHAS: Final = ("alpha", "lora_alpha", "network_alpha")
"""Names of a stored scalar that holds alpha."""
_UNKNOWN_SCALES: Final = ("scale", "scaling", "lora_scale", "lora_scaling", "multiplier", "gate")
"""Names of a stored tensor that by its name scales the update in a way that nothing defines."""


@dataclass(frozen=True, slots=True)
class Factors:
    """One pair, in whatever orientation it is stored."""

    module: str
    """Path of the module that is changed."""
    adapter: str
    """Name of the adapter, where the file holds several; else empty."""
    tail: str
    """What follows the word for the factor: `.weight`, `.default.weight`."""
    is_embedding: bool
    """True for PEFT's factors of an embedding: the update is (B·A)ᵀ."""
    first: Weight
    """A, which is applied first."""
    second: Weight
    """B."""
    mid: Weight | None
    """LoCon's factor between the two."""
    alpha: str | None
    """Name of the stored scalar that holds alpha."""
    unknown_scale: str | None
    """Name of a stored tensor that scales the update in a way nobody knows."""
    is_flipped: bool
    """True for `[in, r]` and `[r, out]`."""
    multiplies: bool
    """False when the shapes fit in neither orientation."""

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return self.first.shape[1 if self.is_flipped else 0]


@dataclass(frozen=True, slots=True)
class _Name:
    """The name of a factor, taken apart."""

    stem: str
    """Up to the word that holds the mark."""
    head: str
    """That word without its mark: `lora_`, or empty."""
    mark: str
    tail: str
    module: str

    @property
    def partner(self) -> str:
        return f"{self.stem}{self.head}{_SECOND[self.mark]}{self.tail}"


def factor_pairs(
    weights: Mapping[str, Weight], stored: Container[str], *, flips_squares: bool = False
) -> Iterator[Factors]:
    """Every pair among `weights`, in their order; `stored` holds the names of all tensors.

    `flips_squares`: where both orientations fit and give the same rank, it is `[in, r]`.
    """
    for name, first in weights.items():
        parts = _apart(name)
        if parts is None or parts.mark not in _SECOND:
            continue
        second = weights.get(parts.partner)
        if second is None or len(first.shape) < 2 or len(second.shape) < 2:
            continue
        mid = weights.get(f"{parts.stem}{parts.head}mid{parts.tail}")
        scope = f"{parts.stem}{parts.head}".rstrip("._")
        places = dict.fromkeys((parts.module, scope, parts.stem.rstrip(".")))
        is_flipped = _is_flipped(first.shape, second.shape, flips_squares) and mid is None
        middle = None if mid is None else mid.shape
        yield Factors(
            module=parts.module,
            adapter=_adapter(parts.tail),
            tail=parts.tail,
            is_embedding=parts.head.endswith("embedding_"),
            first=first,
            second=second,
            mid=mid,
            alpha=_first_stored(places, _ALPHAS, stored),
            unknown_scale=_first_stored(places, _UNKNOWN_SCALES, stored),
            is_flipped=is_flipped,
            multiplies=is_flipped or _multiply(first.shape, second.shape, middle),
        )


def says_factor(name: str) -> bool:
    """True for a name of the shape that factors have, with or without its partner."""
    return len(name) <= MAX_CHARS and _apart(name) is not None


def _apart(name: str) -> _Name | None:
    """The parts of a factor's name; None for any other. The last word with a mark counts."""
    if len(name) > MAX_CHARS or "lora" not in name.lower():
        return None
    words = name.split(".")
    for i in range(len(words) - 1, -1, -1):
        match = _MARK.match(words[i])
        beside = words[i - 1] if i else ""
        if match is None:
            if _LORA.search(words[i]):
                return None
            continue
        head = match["head"] + match["gap"]
        if not (_LORA.search(head) or _LORA.search(beside)):
            continue
        stem = "".join(f"{word}." for word in words[:i])
        tail = "".join(f".{word}" for word in words[i + 1 :])
        module = _module(words[:i], head)
        return _Name(stem, head, match["mark"], tail, module) if module else None
    return None


def _module(before: list[str], head: str) -> str:
    """The path of the changed module: without the words, or parts of words, that say LoRA."""
    words = list(before)
    if head.rstrip("_"):
        words.append(head.rstrip("_"))
    last = words.pop() if words else ""
    if not _LORA.search(last):  # a word for the factor alone, in a module whose parent says LoRA
        words.append(last)
    elif rest := _LORA.sub("", last).removesuffix("_embedding"):
        whole = rest.strip("_")
        if whole not in ("", "linear_layer", "layer", "module", "adapter", "embedding"):
            words.append(whole)
    return _WRAPPERS.sub("", ".".join(words).replace(".processor.", "."))


def _adapter(tail: str) -> str:
    """The adapter that `.speech.weight` names; empty for none and for PEFT's `default`."""
    words = [w for w in tail.split(".") if w not in ("", "weight", "kernel", "default")]
    return ".".join(words)


def _first_stored(
    scopes: Mapping[str, None], leaves: tuple[str, ...], stored: Container[str]
) -> str | None:
    names = (f"{scope}.{leaf}" for scope in scopes for leaf in leaves)
    return next((name for name in names if name in stored), None)


def _is_flipped(a: tuple[int, ...], b: tuple[int, ...], flips_squares: bool) -> bool:
    """True when `[in, r]·[r, out]` fits, and `[out, r]·[r, in]` does not or is not the thin one."""
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        return False
    if b[1] != a[0]:
        return True
    return a[1] < a[0] or (flips_squares and a[1] == a[0])


def _multiply(a: tuple[int, ...], b: tuple[int, ...], mid: tuple[int, ...] | None) -> bool:
    """True when `[r, in, ...]` and `[out, r, 1...]` fit each other."""
    if mid is not None and (mid[:2] != (a[0], a[0]) or math.prod(a[2:]) != 1):
        return False
    return b[1] == a[0] and math.prod(b[2:]) == 1
