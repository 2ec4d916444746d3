"""A small catalog for the site: a family, a run over steps, a failure, and models whose names try to break pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalog.write.commits import record_failure
from tests.catalogs import NOON, commit, keys, sweep

HOSTILE = (
    "evil/<img src=x onerror=\"window.hacked='img'\">",
    "evil/</script><script>window.hacked='script'</script>",
    "=cmd|' /C calc'!A0",
    "evil/\x1b[31mred\u202egnp\u2028.exe",
    "evil/{{ 7 * 7 }}'\"`${alert(1)}",
)
"""Model ids that a stranger may choose."""


def spectrum(index: int, seed: int = 0) -> dict[str, object]:
    """A row of `spectra`: heavy-tailed eigenvalues, and those of noise."""
    rng = np.random.default_rng(seed)
    own = np.sort(rng.pareto(1.5, 60) + 0.1).astype(np.float32).tolist()
    rand = np.sort(rng.gamma(4.0, 0.25, 60)).astype(np.float32).tolist()
    return {
        "layer_index": index, "tensor": f"block.{index}.weight", "eigenvalues": own, "scale_exponent": 0,
        "rand_eigenvalues": rand, "rand_scale_exponent": 0,
    }  # fmt: skip


def layers(count: int, alpha: float, **columns: object) -> list[dict[str, object]]:
    """Layers with a role, a fit and a trap test; the second one has a trap."""
    return [
        {"role": "q" if i % 2 else "mlp_up", "n": 80, "m": 60, "alpha": alpha + 0.1 * i, "xmin": 1.5,
         "num_tail": 20, "num_evals": 60, "num_traps": float(i == 1), "trap_p_value": 0.001 if i == 1 else 0.5,
         "rand_lambda_max": 3.0, "rand_mp_edge_upper": 2.5, **columns}
        for i in range(count)
    ]  # fmt: skip


def fill(root: str, *, models: int = 6) -> None:
    """Commit the catalog of this module."""
    sweep(root, "s1", [f"org/model-{i}" for i in range(models)] + ["org/broken"])
    for i in range(models):
        spectra = [spectrum(k, seed=i) for k in range(6)]
        commit(root, f"org/model-{i}", layers=layers(6, 2.0 + 0.5 * i), spectra=spectra, minute=i,
               family="llama" if i % 2 else "bert", num_params=10 ** (6 + i), architecture="Tiny")  # fmt: skip
    for step in (0, 10, 20):
        evaluations = [{"dataset": "digits", "metric": f"{split}_accuracy", "value": step / 25}
                       for split in ("train", "test")]  # fmt: skip
        commit(root, "org/run", revision=f"{step:040d}", step=step, layers=layers(5, 3.0, step=step),
               evaluations=evaluations, minute=step)  # fmt: skip
    for i, name in enumerate(HOSTILE):
        bad = [{**layer, "tensor": f"{name}.{k}"} for k, layer in enumerate(layers(5, 3.0))]
        bad += [
            {
                "status": "failed",
                "reason": f"{name} in /home/someone/secret/file.bin",
                "alpha": None,
            }
        ]
        commit(root, name, layers=bad, family=f"<b>{name}</b>", architecture="=HYPERLINK(1)", minute=i,
               spectra=[{**spectrum(0), "tensor": f"{name}.0"}], licence="</dd><script>1</script>",
               evaluations=[{"dataset": name, "metric": "<i>acc", "value": 0.5}])  # fmt: skip
    message = "cannot read /home/someone/zoo/broken.bin: <b>torn</b>\x1b[2J"
    failure = {"cause": "data", "error_type": "HeaderError", "message": message, "attempts": 1}
    record_failure(root, {**keys("org/broken"), **failure, "failed_at": NOON})


def built(root: Path, **options: int) -> tuple[Path, Path]:
    """(catalog, site) below `root`."""
    from jobs.site.build import build_site

    fill(str(root / "cat"), **options)
    build_site(str(root / "cat"), root / "site")
    return root / "cat", root / "site"
