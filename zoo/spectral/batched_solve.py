"""Gram matrices and eigenvalues of many equal matrices at once, where they lie.

Everything is float64: on the accelerators measured it costs a batched solve next to nothing (`batch_sizes`). Which
solver ran is told, as rows record it. The same code runs on the CPU, where tests compare it with `solve`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float64, Real

from zoo.machine.cusolver import batched_solver
from zoo.spectral.batch_sizes import BLOCK_BYTES, is_batched

Solver = Literal["cusolver_batched", "torch_batched", "torch", "lapack"]
"""What computed eigenvalues: cuSOLVER's batched routine, torch's on a version that calls it, torch one matrix at a
time, or LAPACK through scipy and numpy."""
_NOT_SOLVED: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # not in its stubs
"""What torch raises where an iteration does not converge."""
_TORCH_BATCHES_FROM = (2, 12)
"""First torch whose eigvalsh hands a whole batch to cuSOLVER (pytorch #175403)."""
_CUDA_BATCHES_FROM = (12, 8)
"""First CUDA of whose every update the batched routine is a part; it came with update 2 of 12.6."""


def scaled_blocks(
    stack: Real[torch.Tensor, "k rows cols"], exponents: Sequence[int]
) -> Float64[torch.Tensor, "k rows cols"]:
    """A copy of `stack` in float64 with matrix i divided by 2^exponents[i], in two steps that stay in range."""
    wide = stack.to(torch.float64, copy=True)
    if any(exponents):
        halves = [exponent // 2 for exponent in exponents]
        for part in (halves, [e - h for e, h in zip(exponents, halves, strict=True)]):
            factors = [math.ldexp(1.0, -exponent) for exponent in part]
            wide *= torch.tensor(factors, dtype=torch.float64, device=stack.device)[:, None, None]
    return wide


def grams(
    stack: Real[torch.Tensor, "k rows cols"], exponents: Sequence[int]
) -> Float64[torch.Tensor, "k m m"]:
    """The Gram matrices of the smaller side, matrix i divided by 2^exponents[i], both triangles."""
    k, rows, cols = stack.shape
    m = min(rows, cols)
    tall = stack if rows >= cols else stack.mT
    result = torch.empty((k, m, m), dtype=torch.float64, device=stack.device)
    step = max(1, BLOCK_BYTES // (8 * rows * cols))
    height = max(m, BLOCK_BYTES // (8 * m))  # rows of a single matrix that is larger than a block
    for start in range(0, k, step):
        chosen = slice(start, start + step)
        out = result[chosen]
        for first in range(0, tall.shape[1], height):
            wide = scaled_blocks(tall[chosen, first : first + height], exponents[chosen])
            if first == 0:
                torch.bmm(wide.mT, wide, out=out)
            else:
                out.baddbmm_(wide.mT, wide)
            del wide
    return result


def symmetric_eigenvalues_of(
    matrices: Float64[torch.Tensor, "k m m"],
) -> tuple[Float64[torch.Tensor, "k m"], Solver]:
    """Ascending eigenvalues of positive semidefinite matrices, not below 0, and what computed them.

    `matrices` are overwritten. A matrix that a batched solver gives up is solved by itself; one that nothing solves is
    NaN. Raises torch.OutOfMemoryError where the workspace finds no room.
    """
    count, order = matrices.shape[:2]
    if matrices.is_cuda and is_batched(count, order):
        solver = batched_solver(matrices.device)
        room = None if solver is None else solver.workspace(matrices)
        if solver is not None and room is not None:
            values, info = solver.eigenvalues(matrices, room)
            failed = (info != 0)[:, None]
            return values.clamp_min_(0.0).masked_fill_(failed, math.nan), "cusolver_batched"
        if _torch_batches():
            try:
                return torch.linalg.eigvalsh(matrices).clamp_min_(0.0), "torch_batched"
            except _NOT_SOLVED:
                pass  # one of them: each by itself
    values = torch.empty((count, order), dtype=torch.float64, device=matrices.device)
    for index in range(count):
        try:
            values[index] = torch.linalg.eigvalsh(matrices[index])
        except _NOT_SOLVED:
            values[index] = math.nan
    return values.clamp_min_(0.0), "torch"


def symmetric_eigenvectors_of(
    matrices: Float64[torch.Tensor, "k m m"],
) -> Float64[torch.Tensor, "k m m"]:
    """Unit eigenvectors of symmetric matrices as rows, that of the largest eigenvalue last; `matrices` are overwritten.

    Raises what torch raises for a matrix that it cannot solve.
    """
    if matrices.is_cuda and len(matrices) > 1 and matrices.shape[1] > 1:
        solver = batched_solver(matrices.device)
        room = None if solver is None else solver.workspace(matrices, vectors=True)
        if solver is not None and room is not None:
            kept = matrices.clone()
            _, info = solver.eigenvalues(matrices, room, vectors=True)
            for index in torch.nonzero(info).flatten().tolist():
                matrices[index] = torch.linalg.eigh(kept[index])[1].mT
            return matrices
    for index in range(len(matrices)):
        matrices[index] = torch.linalg.eigh(matrices[index])[1].mT
    return matrices


def _torch_batches() -> bool:
    """True where torch's own eigvalsh solves a batch at once."""
    cuda = torch.version.cuda
    return _version(torch.__version__) >= _TORCH_BATCHES_FROM and (
        cuda is not None and _version(cuda) >= _CUDA_BATCHES_FROM
    )


def _version(text: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    major, minor, *_ = re.findall(r"\d+", text)
    return int(major), int(minor)
