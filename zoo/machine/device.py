"""Where the heavy linear algebra runs, and in which precision. Decided here and nowhere else.

A layer's own Gram matrix and every eigenvalue solve are float64: on the processors measured,
OpenBLAS solves as fast in float64 as in float32 up to m = 1,024, and the small eigenvalues that the
tail fit may reach stay exact to nine digits. Products with blocks of vectors (`krylov.py`) and
behind shuffled Gram matrices are float32, 1e-6 relative, far below a Tracy-Widom unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from zoo.errors import DeviceLostError, UseError

GRAM_DTYPE = torch.float64
"""Precision of Gram matrices and eigenvalues."""
SHUFFLE_DTYPE = torch.float32
"""Precision of the products behind a shuffled Gram matrix, which is then solved in float64: a
shuffled spectrum is a bulk without small eigenvalues of interest, and errors are 1e-7·λ_max."""
KRYLOV_DTYPE = torch.float32
"""Precision of products with tall blocks of vectors."""

T = TypeVar("T")
"""What the work gives back."""


def choose_device(name: str) -> torch.device:
    """The torch device for an option value: `auto` takes CUDA where there is one.

    Raises UseError when CUDA is asked for and absent, or the name is none of auto, cpu, cuda,
    cuda:N.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda" or name.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise UseError(
                f"device {name!r} asked for, but this torch ({torch.__version__}) sees no CUDA device; "
                "use device 'cpu' or 'auto'"
            )
        return torch.device(name)
    raise UseError(f"device {name!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:N'")


def with_cpu_fallback(
    work: Callable[[torch.device], T], device: torch.device
) -> tuple[T, torch.device]:
    """`work(device)`, or `work(cpu)` when the accelerator runs out of memory; and where it ran."""
    if device.type == "cpu":
        return work(device), device
    try:
        return work(device), device
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    cpu = torch.device("cpu")
    return work(cpu), cpu


def memory_bytes(device: torch.device) -> int:
    """Memory of the accelerator in all, whoever uses it."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def is_device_shortage(error: BaseException) -> bool:
    """True when `error` says that the accelerator has too little memory left, in whichever library's words."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    words = ("CUDA error: out of memory", "ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def is_device_lost(error: BaseException) -> bool:
    """True when `error` says that the accelerator answers no more: every later call in this process fails as well."""
    if is_device_shortage(error) or not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "AcceleratorError" or "CUDA error: " in str(error)


@contextmanager
def naming_lost_device() -> Iterator[None]:
    """Errors of an accelerator that is gone become a DeviceLostError: no fault of what was measured."""
    try:
        yield
    except RuntimeError as error:
        if not is_device_lost(error):
            raise
        first = str(error).splitlines()[0]
        raise DeviceLostError(
            f"the accelerator answers no more ({first}); the work goes to another worker. Wanted a card that "
            "nvidia-smi lists without an error"
        ) from error
