"""LAPACK's two-stage eigenvalue solver (`dsyevd_2stage`), where the BLAS that scipy brings has it.

Dense to band by matrix products, band to tridiagonal by bulge chasing (Haidar, Ltaief, Dongarra 2011):
the one-stage reduction reads the matrix once a column and waits for memory, this one does not. 1.2
times as fast at order 2,048, 1.6 times at 4,096 on the processor measured, and slower below 2,000.
scipy wraps no two-stage routine, so the C interface is called in the library that scipy has loaded;
other builds do without.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  loads the BLAS that is looked for below
from jaxtyping import Float64
from threadpoolctl import threadpool_info

from zoo.spectral.arrays import Doubles

_ROUTINE_NAMES = ("scipy_LAPACKE_dsyevd_2stage", "LAPACKE_dsyevd_2stage")
"""Names of the routine in libraries that count in 32-bit integers; with 64 bits they end in `64_`."""
_COLUMN_MAJOR = 102
"""The value of LAPACK_COL_MAJOR in lapacke.h: the matrix is in Fortran order."""


def two_stage_eigenvalues(
    lower: Float64[Doubles, "m m"],
) -> Float64[Doubles, " m"] | None:
    """Ascending eigenvalues of the symmetric matrix whose lower triangle is `lower`.

    `lower` is in Fortran order and is overwritten. None, and nothing touched, where this machine has
    no such routine. Raises ArithmeticError where LAPACK fails.
    """
    routine = _routine()
    if routine is None:
        return None
    order = len(lower)
    values = np.empty(order)
    status = routine(
        _COLUMN_MAJOR, b"N", b"L", order, lower.ctypes.data, max(order, 1), values.ctypes.data
    )
    if status != 0:
        raise ArithmeticError(
            f"LAPACK dsyevd_2stage failed ({status}) on a matrix of order {order}"
        )
    return values


@lru_cache(maxsize=1)
def _routine() -> Any:
    """The C function, or None where no loaded library has it."""
    for library in threadpool_info():
        if library["internal_api"] != "openblas":
            continue
        loaded = ctypes.CDLL(library["filepath"])
        for name in _ROUTINE_NAMES:
            routine = getattr(loaded, name, None)
            if routine is not None:
                size, address, letter = ctypes.c_int, ctypes.c_void_p, ctypes.c_char
                routine.argtypes = [size, letter, letter, size, address, size, address]
                routine.restype = size
                return routine
    return None
