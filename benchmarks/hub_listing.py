"""How long a query over 10,000 models takes, and how much memory, from the loopback Hub.

    python benchmarks/hub_listing.py --models 10000

Builds that many small repositories in a temporary folder, serves them from a second process, and
lists them once cold (the server hashes every file) and once warm. The bound is one minute and 1 GB
for the client; the server's first look is reported apart. Knows nothing of plans or layers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

from zoo.hub.client import HubClient
from zoo.hub.listing import ModelQuery, query_models
from zoo.loopback import run

CARD = "---\nlicense: mit\nbase_model: acme/base\npipeline_tag: text-generation\n---\n# {}\n"
BYTES_PER_ELEMENT = 4


def put_repositories(root: Path, num_models: int) -> None:
    """`num_models` repositories of one tensor, a config and a card, 100 to an owner."""
    for i in range(num_models):
        folder = root / f"owner{i // 100}" / f"model{i}"
        folder.mkdir(parents=True)
        side = 1 + i % 64
        end = side * side * BYTES_PER_ELEMENT
        header = json.dumps(
            {"w": {"dtype": "F32", "shape": [side, side], "data_offsets": [0, end]}}
        ).encode()
        weights = struct.pack("<Q", len(header)) + header + i.to_bytes(8, "little") * (end // 8)
        (folder / "model.safetensors").write_bytes(weights.ljust(8 + len(header) + end, b"\0"))
        (folder / "config.json").write_text('{"model_type": "toy", "architectures": ["Toy"]}')
        (folder / "README.md").write_text(CARD.format(i))


def serve(root: str, url: multiprocessing.queues.Queue[str], stop: threading.Event) -> None:
    """Body of the server process."""
    run(root, port=0, on_start=url.put, stop=stop)


def timed_query(endpoint: str) -> tuple[int, float]:
    """Models listed, and seconds."""
    start = time.perf_counter()
    num = sum(1 for _ in query_models(HubClient(endpoint), ModelQuery(sort="downloads")))
    return num, time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    num_models = parser.parse_args().models
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        put_repositories(Path(folder), num_models)
        urls, stop = context.Queue(), context.Event()
        server = context.Process(target=serve, args=(folder, urls, stop))
        server.start()
        try:
            endpoint = urls.get(timeout=60)
            for name in ("cold", "warm"):
                num, seconds = timed_query(endpoint)
                print(f"{name}: {num} models in {seconds:.1f} s")
        finally:
            stop.set()
            server.join(10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    print(f"client peak memory: {peak / 2**20:.0f} MiB (process {os.getpid()})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
