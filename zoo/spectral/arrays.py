"""The types of the arrays that the formulas take and give.

`Float64[Doubles, "rows cols"]` is a float64 array of two axes; equal names within one signature are
equal lengths, `_` is any length. mypy checks the kind of number; the shapes can be checked while the
tests run (`--jaxtyping-packages` in pyproject.toml), never in production.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
"""A float64 array of any shape."""
Singles = NDArray[np.float32]
"""A float32 array of any shape."""
Reals = NDArray[np.floating]
"""A float32 or float64 array of any shape."""
Vector = Float64[Doubles, "_"]
"""A float64 array of one axis, of any length."""
