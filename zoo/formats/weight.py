"""The currency between decoders and layers: a logical weight, and the account of stored tensors.

Knows nothing of files or of how a format is decoded; decoders fill these values in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from zoo.io.checkpoint import Checkpoint
    from zoo.io.header import RowRange

Fate = Literal["analysed", "companion", "skipped", "unknown"]
"""What becomes of a stored tensor; see `Entry.fate`."""


class Loader(Protocol):
    """Reads and decodes one weight."""

    def __call__(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """All of the weight, or those rows of it along the first axis (one expert of a stack)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one stored tensor. Every tensor of every header has exactly one."""

    tensor: str
    """Name in the header."""
    fate: Fate
    """`analysed`; `companion` of a weight (bias, scale, zero point); `skipped`; or `unknown`, which
    is an error."""
    reason: str | None
    """Why, for every fate but `analysed`."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One floating-point array a model computes with, decoded from one or more stored tensors."""

    name: str
    """Logical name: the stored name without quantisation suffixes (`qweight` becomes `weight`)."""
    shape: tuple[int, ...]
    """Shape after decoding."""
    stored_dtype: str
    """Safetensors code of the stored main tensor (`F32`, `BF16`, `F8_E4M3`, `U8`, ...)."""
    decoder: str
    """`none`, or the name of the decoder (`fp8_block`, `mxfp4`, `gptq`, ...)."""
    sources: tuple[str, ...]
    """Names of the stored tensors that are read, the main one first."""
    loader: Loader
    """Reads and decodes; use `load`."""
    nbytes: int
    """Bytes read from the checkpoint for this weight, all sources together."""

    def load(self, checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
        """The values, or those of `rows` along the first axis, without reading the rest.

        Native floating dtype when `decoder` is `none`, else float32. The caller owns the memory.
        Raises DecodeError, TruncatedError, TransientError or ResourceError.
        """
        return self.loader(checkpoint, rows)

    @property
    def is_dequantised(self) -> bool:
        """True when the values were decoded from a quantised format: another random ensemble."""
        return self.decoder != "none"

    @property
    def storage_bits(self) -> int:
        """64 for F64 storage, else 32: sets the numerical-rank tolerance."""
        return 64 if self.stored_dtype == "F64" else 32


@dataclass(frozen=True, slots=True)
class Account:
    """All weights of a checkpoint and the fate of every stored tensor."""

    weights: tuple[Weight, ...]
    """In file order (shard, then offset)."""
    entries: tuple[Entry, ...]
    """One per stored tensor, in file order. Taking layers may still turn `analysed` into
    `skipped`."""
