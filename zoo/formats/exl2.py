"""EXL2: codes of 2 to 8 bits, another number of bits in each group of inputs.

 - `q_weight` I32 [words, out]: group after group, each a dense stream of bits along the inputs, low
   bits first;
 - `q_groups` I16 [2 · groups]: bits of each group, and the word it starts at;
 - `q_scale` I32 [groups, out/8]: scales of 4 bits, `q_scale_max` F16 [groups];
 - `q_invperm` I32 [in]: input i of the matrix is row `q_invperm[i]` of the codes.

`W[o, i] = (q - 2^(bits-1)) · (s + 1)² · max / 256`. Outputs are padded to 32 with codes that mean
zero, and where no bias tells how many there are, a matrix whose last output is zero throughout is
refused. Decoder `exl2`.
Source: exllamav2 `conversion/adaptivegptq.py`, `exllamav2_ext/cuda/q_matrix.cu`, `pack_tensor.cu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo.errors import DecodeError
from zoo.formats.bits import unpack_words
from zoo.formats.claim import Claim, Free, claim_weight, wanted
from zoo.formats.weight import Loader
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import RowRange, TensorMeta

_BITS = (2, 3, 4, 5, 6, 8)
"""Bits of a code that the format knows."""
_PARTS = ("q_groups", "q_scale", "q_scale_max", "q_invperm")
"""Endings of the tensors that are read with the codes."""
_PADDED_TO = 32
"""The number of outputs is padded to a multiple of this."""


def exl2(checkpoint: Checkpoint, free: Free) -> Iterator[Claim]:
    """Every I32 `q_weight`."""
    for name, meta in free.items():
        stem = name.removesuffix("q_weight")
        if stem != name and meta.dtype == "I32":
            beside = tuple(stem + part for part in _PARTS)
            make = partial(_plan, checkpoint, free, meta, stem)
            yield claim_weight(free, name, companions=beside, unread=(f"{stem}q_perm",), make=make)


def _plan(
    checkpoint: Checkpoint, free: Free, meta: TensorMeta, stem: str
) -> tuple[str, tuple[int, ...], str, Loader]:
    if len(meta.shape) != 2 or not meta.shape[1] or meta.shape[1] % 8:
        raise DecodeError(f"{meta.name} has shape {list(meta.shape)}; wanted [words, outputs]")
    num_padded = meta.shape[1]
    largest = wanted(free, f"{stem}q_scale_max", of=meta.name, dtypes=("F16",))
    num_groups = largest.numel
    wanted(free, largest.name, of=meta.name, shapes=((num_groups,),))
    wanted(free, f"{stem}q_groups", of=meta.name, shapes=((2 * num_groups,),), dtypes=("I16",))
    packed_scale = ((num_groups, num_padded // 8),)
    wanted(free, f"{stem}q_scale", of=meta.name, shapes=packed_scale, dtypes=("I32",))
    order = wanted(free, f"{stem}q_invperm", of=meta.name, dtypes=("I32",))
    if len(order.shape) != 1 or not order.numel:
        raise DecodeError(f"{meta.name}: {order.name!r} has shape {list(order.shape)}; wanted [in]")
    bias = checkpoint.tensors.get(f"{stem}bias")
    num_out = bias.numel if bias is not None else num_padded
    if not 0 <= num_padded - num_out < _PADDED_TO:
        raise DecodeError(f"{meta.name}: {num_padded} outputs with a bias of {num_out}")
    shape = (num_out, order.numel)
    return f"{stem}weight", shape, "exl2", partial(_load, stem, shape, bias is not None)


def _load(
    stem: str,
    shape: tuple[int, int],
    is_width_known: bool,
    checkpoint: Checkpoint,
    rows: RowRange | None = None,
) -> torch.Tensor:
    name = f"{stem}q_weight"
    num_out, num_in = shape
    groups = _groups(checkpoint, stem, num_in)
    words = checkpoint.read(name)
    packed_scale = checkpoint.read(f"{stem}q_scale").t().contiguous()
    scale = unpack_words(packed_scale, bits=4, count=words.shape[1]).t().float()[:, :num_out]
    largest = checkpoint.read(f"{stem}q_scale_max").float() / 256
    row_of_input = checkpoint.read(f"{stem}q_invperm").long()
    input_of_row = torch.empty_like(row_of_input)
    if not torch.equal(row_of_input.sort().values, torch.arange(num_in)):
        raise DecodeError(f"{stem}q_invperm: wanted each row from 0 to {num_in - 1} once")
    input_of_row[row_of_input] = torch.arange(num_in)
    values = torch.empty(num_in, num_out)
    is_last_zero = True
    for i, (bits, first_word, last_word, first_row, last_row) in enumerate(groups):
        codes = unpack_words(words[first_word:last_word], bits=bits, count=last_row - first_row)
        part = codes[:, :num_out].float().sub_(1 << (bits - 1))
        is_last_zero = is_last_zero and not bool(part[:, -1].any())
        part.mul_((scale[i] + 1) ** 2 * largest[i])
        values[input_of_row[first_row:last_row]] = part
    if is_last_zero and not is_width_known and num_out % _PADDED_TO == 0:
        raise DecodeError(
            f"{name}: its last output is zero throughout, so outputs were padded to {num_out}, and "
            "nothing says how many there are"
        )
    weight = values.t()
    return weight if rows is None else weight[rows[0] : rows[1]]


def _groups(checkpoint: Checkpoint, stem: str, num_in: int) -> list[tuple[int, int, int, int, int]]:
    """Of each group its bits, its words and its rows; DecodeError when they do not fit."""
    name = f"{stem}q_weight"
    num_words = checkpoint.tensors[name].shape[0]
    pairs = checkpoint.read(f"{stem}q_groups").long().reshape(-1, 2).tolist()
    ends = [start for _, start in pairs[1:]] + [num_words]
    groups: list[tuple[int, int, int, int, int]] = []
    row = 0
    for (bits, start), end in zip(pairs, ends, strict=True):
        is_last = len(groups) == len(pairs) - 1
        if bits not in _BITS or not 0 <= start < end <= num_words or (not groups and start):
            raise DecodeError(f"{name}: a group of {bits} bits from word {start} to {end}")
        num_rows = 32 * (end - start) // bits
        if is_last and -(-(num_in - row) * bits // 32) == end - start:
            num_rows = num_in - row  # the last word may be partly used
        if num_rows * bits != 32 * (end - start) and not is_last:
            raise DecodeError(f"{name}: {end - start} words of {bits} bits in a group")
        groups.append((bits, start, end, row, row + num_rows))
        row += num_rows
    if row != num_in:
        raise DecodeError(f"{name}: its groups hold {row} inputs; wanted {num_in}")
    return groups
