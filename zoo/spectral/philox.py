"""A permutation from counted keys: entry i has the key Philox(seed, i), and the entries are put in order of their keys.

Philox 2x32-10 (Salmon, Moraes, Dror and Shaw 2011) is integer arithmetic on (seed, number of the entry): every
device gives the same bits, in any order and all at once, where Fisher-Yates needs one entry after the other. Its
output is a bijection of the counter, so no two entries of a matrix have equal keys, and the order is a uniform one
without ties. A sort costs an accelerator a millisecond for eight million entries, and a CPU half a second: there
Fisher-Yates stays (`shuffle`), and this is replayed only for what an accelerator measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float64, Int64

_MULTIPLIER = 0xD256D193
"""Philox's multiplier for two words."""
_WEYL = 0x9E3779B9
"""What is added to its key after each round."""
_ROUNDS = 10
_WORD = 0xFFFFFFFF
"""32 bits."""
MOST_ENTRIES = 1 << 32
"""The number of an entry is one word of the counter."""

_KERNEL = """
template <typename T> T philox(T entry, T high = 0, T key = 0) {
  unsigned int first = (unsigned int)entry, second = (unsigned int)high, k = (unsigned int)key;
  for (int round = 0; round < 10; ++round) {
    unsigned long long product = 0xD256D193ull * (unsigned long long)first;
    first = (unsigned int)(product >> 32) ^ k ^ second;
    second = (unsigned int)product;
    k += 0x9E3779B9u;
  }
  return (T)(((unsigned long long)first << 32) | (unsigned long long)second);
}
"""
"""The same in one CUDA kernel: a fiftieth of the time of sixty passes over memory."""


def keys(seed: int, size: int, device: torch.device) -> Int64[torch.Tensor, " {size}"]:
    """The 64-bit keys of entries 0 to size − 1, all different.

    The lowest 32 bits of `seed` are Philox's key, the next 32 the second word of its counter; the entry is the first.
    Raises ValueError for more than 2³² entries.
    """
    if size > MOST_ENTRIES:
        raise ValueError(f"got {size} entries; wanted at most {MOST_ENTRIES} for 32-bit counters")
    entries = torch.arange(size, dtype=torch.int64, device=device)
    high, key = (seed >> 32) & _WORD, seed & _WORD
    if device.type == "cuda":
        fast = _kernel(device)
        if fast is not None:
            result: torch.Tensor = fast(entries, high=high, key=key)
            return result
    return _keys(entries, high, key)


def order(seed: int, size: int, device: torch.device) -> Int64[torch.Tensor, " {size}"]:
    """The permutation of `seed`: place j of the shuffled entries holds entry order[j]."""
    return torch.argsort(keys(seed, size, device), stable=True)


def uniform(seed: int, size: int, device: torch.device) -> Float64[torch.Tensor, " {size}"]:
    """Numbers uniform on [−1, 1) from the keys of `seed`: the same on every device."""
    return keys(seed, size, device).to(torch.float64) * 2.0**-63


def _keys(first: Int64[torch.Tensor, " size"], high: int, key: int) -> Int64[torch.Tensor, " size"]:
    """Philox in tensor operations; `first` is overwritten. Products wrap, as 64-bit integers do."""
    second = torch.full_like(first, high)
    for _ in range(_ROUNDS):
        product = first * _MULTIPLIER
        first = torch.bitwise_right_shift(product, 32).bitwise_and_(_WORD)
        first.bitwise_xor_(second).bitwise_xor_(key)
        second = product.bitwise_and_(_WORD)
        key = (key + _WEYL) & _WORD
    return first.bitwise_left_shift_(32).bitwise_or_(second)


@lru_cache(maxsize=8)
def _kernel(device: torch.device) -> Callable[..., Any] | None:
    """The compiled kernel, checked against the tensor operations; None where torch cannot compile it here."""
    jiterator = getattr(torch.cuda, "jiterator", None)
    if jiterator is None:
        return None
    entries = torch.arange(4096, dtype=torch.int64, device=device)
    try:
        fast: Callable[..., Any] = jiterator._create_jit_fn(_KERNEL, high=0, key=0)
        told = fast(entries, high=_WORD - 5, key=_WORD - 7)
        same = bool(torch.equal(told, _keys(entries.clone(), _WORD - 5, _WORD - 7)))
    except (RuntimeError, AttributeError, TypeError):  # no NVRTC, or another torch
        return None
    return fast if same else None
