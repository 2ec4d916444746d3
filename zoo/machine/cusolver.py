"""cuSOLVER's solver for many symmetric matrices at once, in the library that torch has loaded.

torch.linalg.eigvalsh solves a batch one matrix after the other before torch 2.12; `cusolverDnXsyevBatched` has been in
its library since CUDA 12.6.2. It is called by its C interface, so nothing has to be installed for it.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

_LIBRARIES = ("libcusolver.so.12", "libcusolver.so.11")
"""Names of the library in CUDA 13 and 12. A library that is loaded already is found by its name alone."""
_MAPPED = "/proc/self/maps"
"""Where Linux lists the files that this process has loaded."""
_MODES = {False: 0, True: 1}
"""CUSOLVER_EIG_MODE_NOVECTOR and _VECTOR, by whether vectors are wanted."""
_LOWER = 0
"""CUBLAS_FILL_MODE_LOWER."""
_FLOAT64 = 1
"""CUDA_R_64F."""
_ONE_AT_A_TIME = threading.Lock()
"""A handle serves one thread at a time."""


class CusolverError(RuntimeError):
    """A call that cuSOLVER answered with an error."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the routine wants beside the matrices, in bytes."""

    on_device: int
    on_host: int


@dataclass(frozen=True, slots=True)
class BatchedSolver:
    """The two routines, with a handle of one device."""

    library: Any
    handle: ctypes.c_void_p
    params: ctypes.c_void_p
    device: torch.device

    def workspace(self, matrices: torch.Tensor, *, vectors: bool = False) -> Workspace | None:
        """What solving symmetric float64 matrices [k, m, m] takes; None where the routine refuses this size."""
        values = torch.empty(matrices.shape[:2], dtype=torch.float64, device=matrices.device)
        on_device, on_host = ctypes.c_size_t(), ctypes.c_size_t()
        status = self.library.cusolverDnXsyevBatched_bufferSize(
            *self._described(matrices, values, vectors=vectors),
            ctypes.byref(on_device),
            ctypes.byref(on_host),
            ctypes.c_int64(matrices.shape[0]),
        )
        return None if status else Workspace(on_device.value, on_host.value)

    def eigenvalues(
        self, matrices: torch.Tensor, workspace: Workspace, *, vectors: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(eigenvalues [k, m] ascending, info [k]) of symmetric float64 matrices [k, m, m], which are overwritten: with
        `vectors` by unit eigenvectors, one a row. `workspace`: for the same.

        An info other than 0 marks a matrix that was not solved. Both are on the device and may still be on their way.
        Raises CusolverError, and torch.OutOfMemoryError where the workspace finds no room.
        """
        if matrices.dtype != torch.float64 or not matrices.is_contiguous():
            raise ValueError("wanted contiguous float64 matrices")
        count, order = matrices.shape[:2]
        stream = torch.cuda.current_stream(self.device)
        values = torch.zeros((count, order), dtype=torch.float64, device=matrices.device)
        info = torch.zeros(count, dtype=torch.int32, device=matrices.device)
        # zeroed: cuSOLVER 11.7.1.2 reads what it has not written (pytorch #192483)
        room = torch.zeros(max(workspace.on_device, 1), dtype=torch.uint8, device=matrices.device)
        host = ctypes.create_string_buffer(max(workspace.on_host, 1))
        with _ONE_AT_A_TIME:
            self._check("SetStream", self.handle, ctypes.c_void_p(stream.cuda_stream))
            self._check(
                "XsyevBatched",
                *self._described(matrices, values, vectors=vectors),
                ctypes.c_void_p(room.data_ptr()),
                ctypes.c_size_t(workspace.on_device),
                ctypes.cast(host, ctypes.c_void_p),
                ctypes.c_size_t(workspace.on_host),
                ctypes.c_void_p(info.data_ptr()),
                ctypes.c_int64(count),
            )
        if workspace.on_host:
            stream.synchronize()  # the host's part is in use until then
        return values, info

    def _described(
        self, matrices: torch.Tensor, values: torch.Tensor, *, vectors: bool
    ) -> tuple[Any, ...]:
        """The arguments that both routines begin with."""
        order = matrices.shape[1]
        return (
            self.handle,
            self.params,
            ctypes.c_int(_MODES[vectors]),
            ctypes.c_int(_LOWER),
            ctypes.c_int64(order),
            ctypes.c_int(_FLOAT64),
            ctypes.c_void_p(matrices.data_ptr()),
            ctypes.c_int64(order),
            ctypes.c_int(_FLOAT64),
            ctypes.c_void_p(values.data_ptr()),
            ctypes.c_int(_FLOAT64),
        )

    def _check(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"cusolverDn{name}")(*arguments)
        if status != 0:
            raise CusolverError(f"cusolverDn{name} answered with status {status}")


@lru_cache(maxsize=16)
def batched_solver(device: torch.device) -> BatchedSolver | None:
    """The solver for a device; None where the library is not loaded, too old, or refuses a handle."""
    if device.type != "cuda":
        return None
    with torch.cuda.device(device):
        torch.linalg.eigvalsh(torch.eye(2, dtype=torch.float64, device=device))  # loads the library
        library = _library()
        if library is None:
            return None
        handle, params = ctypes.c_void_p(), ctypes.c_void_p()
        if library.cusolverDnCreate(ctypes.byref(handle)):
            return None
        if library.cusolverDnCreateParams(ctypes.byref(params)):
            return None
    return BatchedSolver(library, handle, params, device)


def _library() -> ctypes.CDLL | None:
    """The loaded cuSOLVER, if it has the batched routine."""
    for name in (*_LIBRARIES, *_mapped()):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "cusolverDnXsyevBatched"):
            return library
    return None


def _mapped() -> tuple[str, ...]:
    """Paths of libraries of that name which this process has loaded."""
    try:
        with open(_MAPPED, encoding="utf-8") as lines:
            paths = (
                line.split(maxsplit=5)[-1].strip() for line in lines if "libcusolver.so" in line
            )
            return tuple(dict.fromkeys(paths))
    except OSError:
        return ()
