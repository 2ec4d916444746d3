"""Routines of the BLAS and LAPACK that scipy brings, called so that other threads go on meanwhile.

scipy's own wrappers hold the interpreter's lock while they compute: sixteen threads that shuffle or solve were no
faster than one. The same routines of the same library, called through its Fortran interface, do not. Where this
machine's scipy stands on another library, its wrappers are called. Same bits either way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.linalg import blas, lapack
from threadpoolctl import threadpool_info

from zoo.spectral.arrays import NDArray, Reals

_PREFIX = "scipy_"
"""Of the names in the library that scipy's wheels carry, which counts in 32-bit integers."""
_ONE = ctypes.byref(ctypes.c_int(1))
_LETTER = ctypes.c_size_t(1)
"""The length of a letter, which Fortran compilers expect behind all other arguments."""


def swap_rows(
    column: Shaped[NDArray[np.generic], " entries"],
    partners: NDArray[np.int32],
    *,
    backwards: bool = False,
) -> None:
    """Exchange entry i of `column` with entry partners[i], i = 0, 1, ... or backwards, in place (LAPACK laswp).

    `column` is contiguous float32 or float64, whatever its bits mean.
    """
    single = column.dtype.itemsize == 4
    routine = _routine("slaswp_" if single else "dlaswp_")
    if routine is None:
        wrapped = lapack.slaswp if single else lapack.dlaswp
        wrapped(
            column.reshape(-1, 1, order="F"), partners, inc=-1 if backwards else 1, overwrite_a=1
        )
        return
    counted = partners + np.int32(1)  # Fortran counts from 1
    routine(
        _ONE,
        ctypes.c_void_p(column.ctypes.data),
        ctypes.byref(ctypes.c_int(column.size)),
        _ONE,
        ctypes.byref(ctypes.c_int(counted.size)),
        ctypes.c_void_p(counted.ctypes.data),
        ctypes.byref(ctypes.c_int(-1 if backwards else 1)),
    )


def add_products(
    block: Float[Reals, "a b"], total: Float[Reals, "m m"] | None, *, is_turned: bool
) -> Float[Reals, "m m"]:
    """`total` plus block·blockᵀ (blockᵀ·block where `is_turned`) in its lower triangle (BLAS syrk).

    Both in Fortran order and of one type; without a total a new one, whose upper triangle is 0.
    """
    single = block.dtype == np.float32
    routine = _routine("ssyrk_" if single else "dsyrk_")
    turned = 1 if is_turned else 0
    if routine is None or not block.flags.f_contiguous:
        wrapped = blas.ssyrk if single else blas.dsyrk
        if total is None:
            fresh: Reals = wrapped(1.0, block, trans=turned, lower=1)
            return fresh
        added: Reals = wrapped(1.0, block, trans=turned, lower=1, beta=1.0, c=total, overwrite_c=1)
        return added
    order, depth = block.shape[::-1] if is_turned else block.shape
    kind = ctypes.c_float if single else ctypes.c_double
    beta = 0.0 if total is None else 1.0
    result = np.zeros((order, order), dtype=block.dtype, order="F") if total is None else total
    routine(
        b"L",
        b"T" if is_turned else b"N",
        ctypes.byref(ctypes.c_int(order)),
        ctypes.byref(ctypes.c_int(depth)),
        ctypes.byref(kind(1.0)),
        ctypes.c_void_p(block.ctypes.data),
        ctypes.byref(ctypes.c_int(max(block.shape[0], 1))),
        ctypes.byref(kind(beta)),
        ctypes.c_void_p(result.ctypes.data),
        ctypes.byref(ctypes.c_int(max(order, 1))),
        _LETTER,
        _LETTER,
    )
    return result


def reduced(
    lower: Float[Reals, "m m"], *, panel: int
) -> tuple[
    Float[Reals, "m m"], Float[Reals, " m"], Float[Reals, " m-1"], Float[Reals, " m-1"], int
]:
    """(reflectors, diagonal, off-diagonal, factors, info) of LAPACK sytrd; `lower`, Fortran order, is overwritten.

    `panel`: columns that are reduced at a time.
    """
    single = lower.dtype == np.float32
    routine = _routine("ssytrd_" if single else "dsytrd_")
    order = len(lower)
    if routine is None or not lower.flags.f_contiguous:
        wrapped = lapack.ssytrd if single else lapack.dsytrd
        result: Any = wrapped(lower, lower=1, lwork=panel * order, overwrite_a=1)
        return result[0], result[1], result[2], result[3], int(result[4])
    diagonal = np.empty(order, dtype=lower.dtype)
    off_diagonal, factors = (np.empty(order - 1, dtype=lower.dtype) for _ in range(2))
    work = np.empty(max(panel * order, 1), dtype=lower.dtype)
    size, info = ctypes.c_int(order), ctypes.c_int()
    routine(
        b"L",
        ctypes.byref(size),
        ctypes.c_void_p(lower.ctypes.data),
        ctypes.byref(size),
        ctypes.c_void_p(diagonal.ctypes.data),
        ctypes.c_void_p(off_diagonal.ctypes.data),
        ctypes.c_void_p(factors.ctypes.data),
        ctypes.c_void_p(work.ctypes.data),
        ctypes.byref(ctypes.c_int(work.size)),
        ctypes.byref(info),
        _LETTER,
    )
    return lower, diagonal, off_diagonal, factors, info.value


def tridiagonal_eigenvalues(
    diagonal: Float[Reals, " m"], off_diagonal: Float[Reals, " m-1"]
) -> tuple[Float[Reals, " m"], int]:
    """(ascending eigenvalues, info) of a symmetric tridiagonal matrix (LAPACK sterf). Nothing is overwritten."""
    single = diagonal.dtype == np.float32
    routine = _routine("ssterf_" if single else "dsterf_")
    if routine is None:
        wrapped = lapack.ssterf if single else lapack.dsterf
        values, info = wrapped(diagonal, off_diagonal)
        return values, int(info)
    values, rest, told = diagonal.copy(), off_diagonal.copy(), ctypes.c_int()
    routine(
        ctypes.byref(ctypes.c_int(values.size)),
        ctypes.c_void_p(values.ctypes.data),
        ctypes.c_void_p(rest.ctypes.data),
        ctypes.byref(told),
    )
    return values, told.value


@lru_cache(maxsize=16)
def _routine(name: str) -> Callable[..., Any] | None:
    """The Fortran routine in the library that scipy has loaded; None where it is another one."""
    for library in threadpool_info():
        if library["internal_api"] == "openblas":
            routine = getattr(ctypes.CDLL(library["filepath"]), _PREFIX + name, None)
            if routine is not None:
                routine.restype = None
                found: Callable[..., Any] = routine
                return found
    return None
