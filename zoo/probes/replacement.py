"""What an ablation adds to a weight: a random matrix of a mode's mean and spread in the mode's place."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Real

from zoo.seeds import generator


def replacement(
    mode: Real[np.ndarray, "rows cols"], *seed: str | int
) -> Float32[torch.Tensor, "rows cols"]:
    """ΔW = R − T of one mode T carried back to its place: W + ΔW is W with T replaced.

    R has i.i.d. Gaussian entries with the mean and standard deviation of T's, drawn from `seed`
    (science.md "Probes"; WeightWatcher's remove_traps replaces alike).
    """
    rng = generator(*seed)
    spread = float(mode.std(dtype=np.float64))
    drawn = rng.standard_normal(mode.shape, dtype=np.float32) * np.float32(spread)
    drawn += np.float32(mode.mean(dtype=np.float64))
    return torch.from_numpy(drawn - mode)
