"""Small layers of many kinds, for tests that hold one way of measuring against another."""

from __future__ import annotations

import torch


def layers_of_all_kinds() -> dict[str, torch.Tensor]:
    """Stacks [layers, rows, cols] of equal matrices by name, about forty layers in all; seeded."""
    draw = torch.Generator().manual_seed(12)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) / shape[-1] ** 0.5

    heavy = noise(3, 120, 80)
    heavy = heavy.sign() * heavy.abs() ** 3 * 4
    spiked = noise(4, 240, 120)
    spiked[0, 7, 9] = 4.0
    spiked[1, 100, 3] = -6.0
    spiked[2] += 0.02
    degenerate = torch.zeros(4, 60, 40)
    degenerate[1] = 0.25
    degenerate[2] = noise(60, 5) @ noise(5, 40)
    degenerate[3, 5, 5] = 1.0
    scaled = noise(3, 90, 70)
    scaled[1] *= 2.0**-70
    scaled[2] *= 2.0**90
    correlated = noise(2, 200, 150) @ torch.diag(torch.linspace(0.01, 1, 150) ** 2)
    large = noise(2, 640, 560)
    large[0, 3, 4] = 5.0
    return {
        "square noise": noise(3, 128, 128),
        "bfloat16": noise(3, 150, 110).to(torch.bfloat16),
        "float16": noise(3, 110, 150).to(torch.float16),
        "float64": noise(2, 90, 60).to(torch.float64),
        "whole numbers": (noise(2, 100, 64) * 300).round().to(torch.int8),
        "wide": noise(3, 40, 300),
        "tiny": noise(4, 12, 8),
        "heavy tails": heavy,
        "planted traps": spiked,
        "degenerate": degenerate,
        "extreme scales": scaled,
        "correlated": correlated,
        "beyond every batch of vectors": large,
    }
