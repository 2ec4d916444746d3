"""The Tracy-Widom law for β = 1: distribution of the largest eigenvalue of a real white Wishart
matrix.

F1(s) = det(I − V_s) on L²(0, ∞) with V_s(x, y) = ½ Ai((x + y)/2 + s) (Ferrari and Spohn 2005),
evaluated by Gauss-Legendre quadrature (Bornemann 2010): exact to about 1e-14, and because 1 − F1 is
taken from the eigenvalues of V, the upper tail keeps its relative accuracy down to the smallest
float64.

scipy is loaded when the law is first asked for: what is imported with this module (the columns of the
bulk and of the trap test) is also read where nothing is computed.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebfit, chebpts1, chebval

from zoo.errors import ArgumentError
from zoo.spectral.arrays import Vector

_NODES = 24
"""Points of the quadrature: enough for an error of about 1e-14."""
_LOWEST = -10.0
"""At and below it P(TW1 > s) counts as 1: F1 is under 1e-18 there."""
_HIGHEST = 100.0
"""From here on P(TW1 > s) counts as the smallest normal float64, which it falls below."""
_INTERPOLATED_UP_TO = 12.0
"""Up to here the p-value is read from an interpolant of the determinant, which is made once."""
_CHEBYSHEV_TERMS = 64
"""Terms of that interpolant: 1e-10 relative over its whole range."""


class EdgeScale(NamedTuple):
    """λ_max of WᵀW, W n×m white with unit variance, is about `centre + scale·TW1`."""

    centre: float
    scale: float


def johnstone(n: int, m: int) -> EdgeScale:
    """Centring and scale for the largest eigenvalue of an n×m real white Wishart (Johnstone 2001).

    centre = (√(n−1) + √m)², scale = (√(n−1) + √m)(1/√(n−1) + 1/√m)^⅓, n ≥ m ≥ 1; n = 1 counts as 2.
    Raises ArgumentError for sides below 1.
    """
    if n < 1 or m < 1:
        raise ArgumentError(f"got n={n}, m={m}; wanted n ≥ m ≥ 1")
    a, b = math.sqrt(max(n - 1, 1)), math.sqrt(m)
    return EdgeScale(centre=(a + b) ** 2, scale=(a + b) * (1.0 / a + 1.0 / b) ** (1.0 / 3.0))


def tw1_sf(s: float) -> float:
    """P(TW1 > s), in [0, 1]; 1e-10 relative.

    1 below −10 (where F1 < 1e-18), the smallest normal float beyond s ≈ 100. Raises ArgumentError for
    NaN.
    """
    if math.isnan(s):
        raise ArgumentError("got s = NaN; wanted a number in Tracy-Widom units")
    if s <= _LOWEST:
        return 1.0
    if s >= _HIGHEST:
        return sys.float_info.min
    if s > _INTERPOLATED_UP_TO:
        return tw1_sf_by_determinant(s)
    return min(math.exp(float(chebval(_to_unit(s), _coefficients()))), 1.0)


def tw1_sf_by_determinant(s: float) -> float:
    """P(TW1 > s) for s in (−10, 100), 1e-13 relative; half a millisecond."""
    from scipy.special import airy

    x, weights = _rule(s)
    root = np.sqrt(weights)
    kernel = 0.5 * airy(0.5 * (x[:, None] + x[None, :]) + s)[0]
    kappa = np.linalg.eigvalsh(root[:, None] * kernel * root[None, :])
    log_cdf = float(np.sum(np.log1p(-np.minimum(kappa, 1.0 - 1e-16))))
    return max(-math.expm1(log_cdf), sys.float_info.min)


def tw1_cdf(s: float) -> float:
    """P(TW1 ≤ s)."""
    return 1.0 - tw1_sf(s)


@lru_cache(maxsize=256)
def tw1_quantile(sf: float) -> float:
    """The s with P(TW1 > s) = sf, 0 < sf < 1; 1e-10 absolute."""
    if not 0.0 < sf < 1.0:
        raise ArgumentError(f"tail probability {sf}; wanted one strictly between 0 and 1")
    from scipy.optimize import brentq

    log_sf = math.log(sf)
    return float(
        brentq(lambda s: math.log(tw1_sf(s)) - log_sf, _LOWEST, _HIGHEST - 1e-9, xtol=1e-10)
    )


@lru_cache(maxsize=1)
def _legendre() -> tuple[Vector, Vector]:
    """Nodes and weights of the quadrature on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return 0.5 * (nodes + 1.0), 0.5 * weights


@lru_cache(maxsize=1)
def _coefficients() -> Vector:
    """Chebyshev coefficients of ln P(TW1 > s) on [−10, 12]."""
    x = chebpts1(_CHEBYSHEV_TERMS)
    s = 0.5 * (_INTERPOLATED_UP_TO + _LOWEST) + 0.5 * (_INTERPOLATED_UP_TO - _LOWEST) * x
    values = np.log([tw1_sf_by_determinant(float(v)) for v in s])
    return np.asarray(chebfit(x, values, _CHEBYSHEV_TERMS - 1))


def _to_unit(s: float) -> float:
    """`s` on the interval of the Chebyshev polynomials, [−1, 1]."""
    return (2.0 * s - _INTERPOLATED_UP_TO - _LOWEST) / (_INTERPOLATED_UP_TO - _LOWEST)


def _rule(s: float) -> tuple[Vector, Vector]:
    """Nodes and weights on (0, L), beyond which the kernel is below 1e-17 of its largest value."""
    length = (18.0 - 1.5 * min(s, 0.0)) / math.sqrt(max(1.0, s))
    nodes, weights = _legendre()
    return length * nodes, length * weights
