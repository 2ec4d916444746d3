"""The types of the arrays that the formulas take and give.

`Float64[Doubles, "rows cols"]` is a float64 array of two axes; equal names within one signature are
equal lengths, `_` is any length. mypy checks the kind of number. Shapes and kinds are checked at
every call while the tests run (`--jaxtyping-packages` in pyproject.toml), never in production.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike
    from torch import Tensor as Tensor
else:
    ArrayLike = object
    """Numbers in any container. What a caller hands to a formula is checked at every call, in
    production too, by `zoo.spectral.inputs`, whose refusals the tests want to see."""

    class _AnyTensor(type):
        """Tells a tensor without importing torch: where torch is not loaded there is none."""

        def __instancecheck__(cls, value: object) -> bool:
            torch = sys.modules.get("torch")
            return torch is not None and isinstance(value, torch.Tensor)

    class Tensor(metaclass=_AnyTensor):
        """`torch.Tensor`, for modules that can be read where torch is not loaded."""


ScalarT = TypeVar("ScalarT", bound=np.generic)
NDArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[ScalarT]]
"""An array of one kind of number and any shape. numpy's own alias of this name is no class from 2.5 on, which
jaxtyping needs."""
Doubles = NDArray[np.float64]
"""A float64 array of any shape."""
Singles = NDArray[np.float32]
"""A float32 array of any shape."""
Reals = NDArray[np.floating]
"""A float32 or float64 array of any shape."""
Vector = Float64[Doubles, "_"]
"""A float64 array of one axis, of any length."""
Matrix = Float64[Doubles, "_ _"]
"""A float64 array of two axes, of any lengths."""
Indices = NDArray[np.intp]
"""Positions in another array, as `nonzero` and `argsort` give them; of any shape."""
