"""From one number a layer to one setting a layer: which to train, how fast, how much to prune.

Three published rules, each one formula. They map the layers' alphas onto a range in a straight line; the
alpha is that of `hill.alpha_hill`, as in the code of all three. Knows nothing of names.
"""

from __future__ import annotations

from collections.abc import Sequence

from zoo.errors import ArgumentError

LR_RANGE = (0.5, 1.5)
"""TempBalance (Zhou et al. 2023, arXiv:2312.00359, eq. 2): learning rates from half to one and a half."""
DECAY_RANGE = (2 / 3, 5.0)
"""AlphaDecay (He et al. 2025, arXiv:2506.14562): as in the authors' runs with AdamW; 2/3 to 3 with Adam."""
PRUNE_EPSILON = 0.3
"""AlphaPruning (Lu et al. 2024, arXiv:2410.10912): the half-width of the range around 1."""


def linear_scale(values: Sequence[float], *, low: float, high: float) -> tuple[float, ...]:
    """(v − min)/(max − min)·(high − low) + low: `low` for the smallest, `high` for the largest.

    All get the middle where all values are equal. With LR_RANGE this is TempBalance's factor on the learning
    rate, with DECAY_RANGE AlphaDecay's on the weight decay: the larger alpha, the less trained, gets more
    of both. ArgumentError unless 0 ≤ low ≤ high.
    """
    if not 0.0 <= low <= high:
        raise ArgumentError(f"range of factors: got {low:g} to {high:g}; wanted 0 <= low <= high")
    least, most = min(values, default=0.0), max(values, default=0.0)
    if most == least:
        return ((low + high) / 2,) * len(values)
    return tuple((v - least) / (most - least) * (high - low) + low for v in values)


def prune_ratios(
    values: Sequence[float],
    sizes: Sequence[int],
    *,
    sparsity: float,
    epsilon: float = PRUNE_EPSILON,
) -> tuple[float, ...]:
    """AlphaPruning's share of each layer's parameters to remove: `linear_scale` onto 1 ± epsilon, times the
    one factor that makes Σ size·ratio = sparsity·Σ size.

    The larger alpha is pruned more. ArgumentError for a sparsity or an epsilon outside (0, 1), and where a
    layer would lose more than all it has: then a smaller epsilon is needed.
    """
    for name, number in (("sparsity", sparsity), ("epsilon", epsilon)):
        if not 0.0 < number < 1.0:
            raise ArgumentError(f"{name}: got {number:g}; wanted above 0 and below 1")
    if not values:
        return ()
    raw = linear_scale(values, low=1.0 - epsilon, high=1.0 + epsilon)
    weighted = sum(size * share for size, share in zip(sizes, raw, strict=True))
    ratios = tuple(sparsity * sum(sizes) / weighted * share for share in raw)
    if max(ratios) > 1.0:
        raise ArgumentError(
            f"a layer would lose {max(ratios):.3g} of its parameters; wanted at most 1: use an epsilon "
            f"below {epsilon:g} or a sparsity below {sparsity:g}"
        )
    return ratios


def top_share(values: Sequence[float], kinds: Sequence[str], *, share: float) -> tuple[bool, ...]:
    """Which layers Spectrum trains: of every kind the `share` with the largest value, rounded down as its
    program does, but one at least; ties go to the earlier layer. ArgumentError unless 0 < share ≤ 1."""
    if not 0.0 < share <= 1.0:
        raise ArgumentError(f"share of layers: got {share:g}; wanted above 0 and at most 1")
    chosen = [False] * len(values)
    for kind in dict.fromkeys(kinds):
        places = [i for i, other in enumerate(kinds) if other == kind]
        places.sort(key=lambda i: -values[i])
        for place in places[: max(1, int(len(places) * share))]:
            chosen[place] = True
    return tuple(chosen)
