"""AdamW's step in one pass over memory: a Triton kernel. Imported on a GPU alone.

The constants come as tensors, as Triton rounds a Python number to float32.
"""

import torch
import triton
import triton.language as tl

BLOCK = 1024
"""Elements of one program."""


@triton.jit
def _step(theta, first, second, gradient, keep, constants, correction, size, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202  (Triton's arguments are pointers, which have no Python type)
    run = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    at = run * size + place
    g = tl.load(gradient + at, mask=inside, other=0.0)
    m = tl.load(first + at, mask=inside, other=0.0)
    v = tl.load(second + at, mask=inside, other=0.0)
    w = tl.load(theta + at, mask=inside, other=0.0)
    m = m * tl.load(constants) + g * tl.load(constants + 1)
    v = v * tl.load(constants + 2) + g * g * tl.load(constants + 3)
    below = tl.sqrt(v) * tl.load(correction + 1) + tl.load(constants + 4)
    w = w * tl.load(keep + run) - tl.load(correction) * (m / below)
    tl.store(first + at, m, mask=inside)
    tl.store(second + at, v, mask=inside)
    tl.store(theta + at, w, mask=inside)


def fused_step(
    theta: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    gradient: torch.Tensor,
    keep: torch.Tensor,
    constants: torch.Tensor,
    correction: torch.Tensor,
) -> None:
    """One step of all runs, [runs, size] each; `keep` is 1 - learning rate · decay of a run."""
    runs, size = theta.shape
    grid = (triton.cdiv(size, BLOCK), runs)
    _step[grid](theta, first, second, gradient, keep, constants, correction, size, BLOCK=BLOCK)
