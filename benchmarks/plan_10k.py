"""`zoo plan` and `zoo sweep --limit 1` over 10,000 listed models, against one minute and 1 GB.

    python -m benchmarks.plan_10k [--models 10000] [--headers 500]

The models lie in a loopback Hub in a process of its own, which hashes them before the clock starts. Printed:
seconds and peak memory of each command, and the requests that a plan spends.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

from benchmarks.gpt_oss import GIB, serve, zoo
from benchmarks.hub_listing import put_repositories, timed_query


def main() -> int:
    """Build, serve, plan, sweep one, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--headers", type=int, default=500)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        put_repositories(root / "shelf", args.models)
        urls, stop = context.Queue(), context.Event()
        server = context.Process(target=serve, args=(str(root / "shelf"), urls, stop))
        server.start()
        try:
            os.environ["HF_ENDPOINT"] = urls.get(timeout=60)
            _, seconds = timed_query(os.environ["HF_ENDPOINT"])
            print(f"the server's first look at its folders: {seconds:.1f} s, not counted below")
            measure(root, args.headers)
        finally:
            stop.set()
            server.join(10)
    return 0


def measure(root: Path, headers: int) -> None:
    """Plan without and with headers, then sweep one model of the list."""
    spec = root / "spec.toml"
    spec.write_text('[[source]]\nquery = { sort = "downloads" }\n')
    for count in (0, headers):
        seconds, out, peaks = zoo("plan", spec, "--headers", count, "--format", "json")
        rows = json.loads(out)
        read = sum(row["layers"] is not None for row in rows)
        spent = sum(row["requests"] or 0 for row in rows)
        print(
            f"zoo plan: {len(rows)} models, {read} headers read with {spent} requests, {seconds:.1f} s, "
            f"{max(peaks.values()) / GIB:.2f} GiB"
        )
    for limit in (1, 1):
        seconds, _, peaks = zoo("sweep", spec, "--out", root / "cat", "-j", 1, "--limit", limit)
        print(f"zoo sweep --limit 1: {seconds:.1f} s, driver {peaks['driver'] / GIB:.2f} GiB")


if __name__ == "__main__":
    raise SystemExit(main())
