"""The header of a safetensors file: which tensors, of what shape, at which bytes.

A safetensors file is 8 bytes N (little-endian), N bytes of JSON, then the data. Everything here is
pure and treats the header as hostile: whatever is wrong with it becomes a CheckpointError that
names the file, says what was there and what was wanted, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import NoReturn

from zoo.errors import HeaderError, TruncatedError
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.files import ByteFile, read_bytes

MAX_HEADER_BYTES = 100_000_000
"""A longer header is refused: the limit of the safetensors library itself."""
MAX_TENSORS = 500_000
"""A header with more tensors is refused before it is parsed, which bounds the memory of the parser."""
MAX_DIMS = 32
"""A tensor with more axes is refused; those of weights have a handful."""
MAX_NAME_CHARS = 4096
"""A longer name is refused."""
_MAX_INT = 2**63 - 1
"""The largest number that fits a signed 64-bit integer, as torch counts."""

RowRange = tuple[int, int]
"""(a, b): the rows a ≤ i < b of a tensor along its first axis."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tensor that is stored in parts, for several devices."""

    meta: TensorMeta
    """What is stored, of which this is all or some rows or columns."""
    start: int
    """First of them in what is stored."""
    length: int
    """How many."""


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """One stored tensor."""

    name: str
    """Name in the header (a component prefix is added by the checkpoint)."""
    dtype: str
    """Safetensors code, a key of `DTYPE_BITS` (a quantisation type such as `Q4_K` for GGUF)."""
    shape: tuple[int, ...]
    """Numbers of elements along each axis, slowest first."""
    file: str
    """Name of the file within its store."""
    start: int
    """First byte of the data, counted from the start of the file."""
    end: int
    """One past the last byte."""
    stride: tuple[int, ...] | None = None
    """Strides in elements when the values are no plain run (views in PyTorch files); the bytes
    from `start` to `end` then cover them."""
    pieces: tuple[Piece, ...] = ()
    """The parts that make up the tensor, one after the other along `axis`; empty for a tensor that
    is stored whole. File, `start` and `end` are then those of the first."""
    axis: int = 0
    """Along which axis the pieces lie."""

    @property
    def stored(self) -> tuple[TensorMeta, ...]:
        """What lies in files for it: itself, or what its pieces are parts of, each once."""
        return tuple(dict.fromkeys(piece.meta for piece in self.pieces)) or (self,)

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return sum(meta.end - meta.start for meta in self.stored)

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a scalar."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file."""

    tensors: tuple[TensorMeta, ...]
    """In file order (by offset)."""
    metadata: Mapping[str, str]
    """The free-form `__metadata__`."""


def read_header(file: ByteFile) -> Header:
    """The header of `file`, in two reads."""
    if file.size < 8:
        raise HeaderError(
            f"{file.name} has {file.size} bytes; wanted at least the 8 that hold the header's "
            "length. Fetch the file again"
        )
    length = header_length(read_bytes(file, 0, 8), file_size=file.size, file=file.name)
    return parse_header(read_bytes(file, 8, length), file_size=file.size, file=file.name)


def header_length(prefix: bytes, *, file_size: int, file: str) -> int:
    """Bytes of JSON, from the first 8 bytes of the file."""
    length = int.from_bytes(prefix[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise HeaderError(
            f"{file}: header of {length:,} bytes; wanted at most {MAX_HEADER_BYTES:,}. "
            "This is no safetensors file, or a hostile one"
        )
    if length > file_size - 8:
        raise HeaderError(
            f"{file}: header of {length:,} bytes in a file of {file_size:,} bytes; wanted a header "
            "that fits in the file. It is cut short or no safetensors file: fetch it again"
        )
    return length


def parse_header(raw: bytes, *, file_size: int, file: str) -> Header:
    """The header in `raw` (the JSON alone, without the 8 bytes before it).

    Raises HeaderError for anything wrong with it, TruncatedError when it is sound but the file is
    shorter than it says.
    """
    infos = _parsed(raw, file)
    metadata = _metadata(infos.pop("__metadata__", None), file)
    base = 8 + len(raw)
    metas = [_tensor(name, info, base, file) for name, info in infos.items()]
    metas.sort(key=lambda t: (t.start, t.end))
    _check_tiling(metas, base, file_size, file)
    return Header(tuple(metas), metadata)


def strict_json(raw: bytes, *, what: str) -> object:
    """JSON without its loopholes: no duplicate keys, no NaN or Infinity, valid UTF-8.

    HeaderError, naming `what`, for anything else.
    """

    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        unique = dict(pairs)
        if len(unique) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(n for n in names if names.count(n) > 1)
            raise HeaderError(f"{what}: the key {_short(twice)} occurs twice; wanted it once")
        return unique

    def no_constants(name: str) -> NoReturn:
        raise HeaderError(f"{what}: holds {name}, which is not JSON; wanted finite numbers")

    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=no_constants
        )
    except UnicodeDecodeError as error:
        raise HeaderError(f"{what}: not UTF-8 ({error}); wanted JSON") from error
    except RecursionError as error:
        raise HeaderError(f"{what}: nested too deeply; wanted plain JSON") from error
    except ValueError as error:
        raise HeaderError(f"{what}: not JSON ({error}); wanted JSON. Fetch it again") from error


def _parsed(raw: bytes, file: str) -> dict[str, object]:
    if raw[:1] != b"{":
        raise HeaderError(
            f"{file}: header starts with {raw[:8]!r}; wanted {{. This is no safetensors file"
        )
    # A tensor needs one brace and two brackets: bound what the parser may allocate beforehand.
    num_braces, num_brackets = raw.count(b"{"), raw.count(b"[")
    if num_braces > MAX_TENSORS + 2 or num_brackets > 2 * MAX_TENSORS + 2:
        raise HeaderError(
            f"{file}: header with {max(num_braces, num_brackets):,} openings; wanted at most "
            f"{MAX_TENSORS:,} tensors"
        )
    infos = strict_json(raw, what=f"{file}: header")
    if not isinstance(infos, dict):
        raise HeaderError(f"{file}: header is a {type(infos).__name__}; wanted a JSON object")
    return infos


def _metadata(value: object, file: str) -> dict[str, str]:
    """`value` as free-form strings by name; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise HeaderError(
            f"{file}: __metadata__ is {_short(value)}; wanted an object of strings. Save it again"
        )
    return value


def _tensor(name: str, info: object, base: int, file: str) -> TensorMeta:
    what = f"{file}: tensor {_short(name)}"
    if not 0 < len(name) <= MAX_NAME_CHARS or any("\ud800" <= c <= "\udfff" for c in name):
        raise HeaderError(f"{what}; wanted a name of 1 to {MAX_NAME_CHARS} whole characters")
    if not isinstance(info, dict):
        raise HeaderError(f"{what} is {_short(info)}; wanted an object")
    dtype = info.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise HeaderError(
            f"{what} has dtype {_short(dtype)}; wanted one of {', '.join(DTYPE_BITS)}"
        )
    shape = _counts(info.get("shape"))
    if shape is None or len(shape) > MAX_DIMS:
        shown = _short(info.get("shape"))
        raise HeaderError(
            f"{what} has shape {shown}; wanted at most {MAX_DIMS} whole numbers, none negative"
        )
    offsets = _counts(info.get("data_offsets"))
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        shown = _short(info.get("data_offsets"))
        raise HeaderError(
            f"{what} has data_offsets {shown}; wanted [begin, end], 0 <= begin <= end"
        )
    num_bits, num_bytes = prod(shape) * DTYPE_BITS[dtype], offsets[1] - offsets[0]
    if num_bits != 8 * num_bytes:
        whole = num_bits % 8 == 0
        wanted = f"{num_bits // 8:,} bytes" if whole else f"{num_bits:,} bits"
        raise HeaderError(
            f"{what} has {num_bytes:,} bytes; wanted {wanted} for {dtype} "
            f"{_short(list(shape))}. Save the checkpoint again"
        )
    return TensorMeta(name, dtype, shape, file, base + offsets[0], base + offsets[1])


def _counts(value: object) -> tuple[int, ...] | None:
    """`value` if it is a list of whole numbers in [0, 2^63); else None."""
    if isinstance(value, list) and all(type(n) is int and 0 <= n <= _MAX_INT for n in value):
        return tuple(value)
    return None


def _check_tiling(metas: list[TensorMeta], base: int, file_size: int, file: str) -> None:
    """The tensors must cover the data exactly: no overlap, no hole, nothing left over."""
    starts_at = base
    if metas and metas[0].start != base:
        raise HeaderError(
            f"{file}: the first tensor {_short(metas[0].name)} starts {metas[0].start - base:,} "
            "bytes into the data; wanted 0. Save the checkpoint again"
        )
    for left, right in pairwise(metas):
        if left.end != right.start:
            kind = "overlap" if left.end > right.start else "leave a hole"
            raise HeaderError(
                f"{file}: tensors {_short(left.name)} and {_short(right.name)} {kind} (one ends at "
                f"{left.end - base:,}, the next starts at {right.start - base:,}); wanted them "
                "one after the other. Save the checkpoint again"
            )
    ends_at = metas[-1].end if metas else starts_at
    if ends_at > file_size:
        raise TruncatedError(
            f"{file} has {file_size:,} bytes; wanted {ends_at:,}, as its header says. "
            "It is cut short: fetch it again"
        )
    if ends_at < file_size:
        raise HeaderError(
            f"{file} has {file_size:,} bytes, {file_size - ends_at:,} more than its tensors take; "
            "wanted nothing after the last tensor. Save the checkpoint again"
        )


def _short(value: object) -> str:
    """A value for a message: quoted, and cut when long."""
    text = repr(value) if not isinstance(value, (list, dict)) else repr(value)[:200]
    return text if len(text) <= 120 else text[:117] + "..."
