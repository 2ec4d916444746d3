"""A nightly over repositories whose weights have not changed: bytes, requests, seconds, from the loopback Hub.

    python -m benchmarks.nightly [--models 2000]

The first sweep measures every model (the tail alone: it is not what is asked here). Then every repository
gets another model card, a new commit without a new weight, and the same command runs again; then once more
with nothing changed. Counted are the bodies the server wrote, of weight files and of all else.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.gpt_oss import GIB, zoo
from benchmarks.hub_listing import CARD
from zoo.loopback.server import HubServer

SIDE = 64
"""Rows and columns of the two matrices of a model."""


def put_repositories(root: Path, num_models: int) -> None:
    """Repositories of two random matrices, a config and a card, 100 to an owner."""
    for number in range(num_models):
        folder = root / f"owner{number // 100}" / f"model{number}"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        tensors = {f"{i}.weight": rng.standard_normal((SIDE, SIDE), np.float32) for i in range(2)}
        save_file(tensors, folder / "model.safetensors")
        config = {"model_type": "toy", "architectures": ["Toy"]}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "README.md").write_text(CARD.format(number))


def main() -> int:
    """Sweep, change every card, sweep, sweep; print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=2_000)
    num_models = parser.parse_args().models
    print("| sweep | seconds | weight files, bytes | all else, bytes | requests | driver, GiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        put_repositories(root / "shelf", num_models)
        spec = root / "spec.toml"
        spec.write_text('[[source]]\nquery = { sort = "downloads" }\n[layers]\nmetrics = "tail"\n')
        with HubServer(root / "shelf", redirect=True) as hub:
            os.environ["HF_ENDPOINT"] = hub.url
            measure("first", hub, spec, root / "cat")
            for card in (root / "shelf").rglob("README.md"):
                card.write_text(card.read_text().replace("mit", "apache-2.0"))
            measure("another card each", hub, spec, root / "cat")
            measure("nothing changed", hub, spec, root / "cat")
        _, out, _ = zoo("status", root / "cat")
        print(f"\n{out}")
    return 0


def measure(name: str, hub: HubServer, spec: Path, catalog: Path) -> None:
    """One sweep as a process, and what the server was asked for meanwhile."""
    hub.requests.clear()
    seconds, _, peaks = zoo("sweep", spec, "--out", catalog, "-j", 1)
    served = list(hub.requests)
    of_weights = [r.bytes_sent for r in served if r.path.endswith(".safetensors")]
    of_all = sum(r.bytes_sent for r in served)
    print(
        f"| {name} | {seconds:.0f} | {sum(of_weights):,} | {of_all - sum(of_weights):,} "
        f"| {len(served):,} | {peaks['driver'] / GIB:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
