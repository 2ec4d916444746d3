"""Small numbers packed into bytes and words, and the tables they index. Pure."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray

_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The values of a 4-bit float without its sign, by its three low bits."""
E2M1 = np.array([*_MAGNITUDES, *(-v for v in _MAGNITUDES)], dtype=np.float32)
"""The 16 values of a 4-bit float: bit 3 is the sign (OCP microscaling formats 1.0, table 5)."""

with np.errstate(over="ignore"):
    E8M0 = np.ldexp(1.0, np.arange(256) - 127).astype(np.float32)
E8M0[255] = np.nan
"""The 256 values of an 8-bit exponent, 2^(byte - 127); 255 is NaN (same source, section 5.4)."""


_LOOKED_UP_CODES = 1 << 22
"""Codes that are looked up at a time: only so many are held as int32 beside the values."""
_LOOKED_UP_ON_DEVICE = 1 << 26
"""The same on an accelerator, where a call takes longer than its work on a few million codes."""


def unpack_words(words: torch.Tensor, *, bits: int, count: int, dense: bool = True) -> torch.Tensor:
    """Unsigned `bits`-bit numbers from int32 words [n, k], packed along the first axis, low first.

    Returns uint8 [count, k]. Dense packing lets a number straddle two words; otherwise a word
    holds `32 // bits` numbers and its top bits are unused.
    """
    per_period, num_words = 32 // bits, 1
    if dense:
        per_period, num_words = 32 // gcd(bits, 32), bits // gcd(bits, 32)
    num_periods = -(-count // per_period)
    missing = num_periods * num_words - words.shape[0]
    if missing > 0:
        words = torch.cat([words, words.new_zeros(missing, words.shape[1])])
    periods = words[: num_periods * num_words].view(num_periods, num_words, -1)
    numbers = words.new_empty(num_periods, per_period, words.shape[1], dtype=torch.uint8)
    mask = (1 << bits) - 1
    for i in range(per_period):
        word, offset = divmod(i * bits, 32)
        value = periods[:, word] >> offset
        num_low = 32 - offset
        if num_low < bits:
            value = (value & ((1 << num_low) - 1)) | (periods[:, word + 1] << num_low)
        numbers[:, i] = value & mask
    return numbers.view(-1, words.shape[1])[:count]


def unpack_nibbles(packed: torch.Tensor, *, high_first: bool = False) -> torch.Tensor:
    """Two 4-bit numbers a byte: uint8 [..., n] to uint8 [..., 2n]."""
    low, high = packed & 15, packed >> 4
    pair = (high, low) if high_first else (low, high)
    return torch.stack(pair, dim=-1).flatten(-2)


def look_up(codes: torch.Tensor, table: torch.Tensor | NDArray[np.float32]) -> torch.Tensor:
    """`table[codes]` for uint8 codes, in float32 and without an int64 copy of all codes."""
    held = torch.as_tensor(table, device=codes.device)
    values = torch.empty(codes.shape, dtype=torch.float32, device=codes.device)
    most = _LOOKED_UP_CODES if codes.device.type == "cpu" else _LOOKED_UP_ON_DEVICE
    flat_codes, flat_values = codes.reshape(-1), values.view(-1)
    for start in range(0, flat_codes.numel(), most):
        part = slice(start, start + most)
        torch.index_select(held, 0, flat_codes[part].int(), out=flat_values[part])
    return values
