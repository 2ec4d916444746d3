"""Workers, nodes and drivers killed at random while a sweep runs; the tables must not tell.

    python -m benchmarks.chaos [--units 200] [--kills 30] [--seed 0]

A cluster of a head and three nodes on this machine, a Hub on loopback that answers 503 and 429 and cuts bodies, and a
sweep of spectra and probes from it. Every few seconds something dies: a worker (SIGKILL), a node (raylet and workers
at once; another joins), or the driver (SIGKILL; the same command again). Whole sweeps are repeated until enough has
died. Then every table is held against that of an undisturbed sweep on the local runner from a Hub without faults:
every column but times and names of sweeps, every row, none twice.

A model whose worker was killed twice counts as poison, as it must where nobody knows who killed; such models are
swept once more with `--overwrite failed`, and their number is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.models import weights, write_model
from tests.nodes import SETTINGS, STORE_BYTES, lose
from tests.test_sweep import numbers
from zoo.loopback.faults import Fault
from zoo.loopback.server import HubServer

_FAULTS = (
    Fault("503", match="*/resolve/*", every=23, seconds=0.1),
    Fault("429", match="*/resolve/*", every=41, seconds=0.1),
    Fault("cut", match="*.safetensors", every=17, at_byte=900),
)
_TABLES = ("layers", "traps", "spectra", "tensors", "models")
_OF_THE_RUN = {"requests", "bytes_read", "host", "measured_at", "attempts", "retries"}
"""Columns that say how a number was come by, which kills do change."""
_PAUSE_S = (2.0, 8.0)
"""Between two deaths."""


def main() -> int:
    """Sweeps under fire until enough has died; 0 when every table is right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.update(SETTINGS)
    rng = random.Random(args.seed)
    killed: Counter[str] = Counter()
    poisoned, rounds, wrong = 0, 0, 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoo-chaos-") as temporary:
        folder = Path(temporary)
        for number in range(args.units):
            write_model(folder / "shelf" / "acme" / f"m{number:04d}", _tensors(number))
        with HubServer(folder / "shelf") as hub:
            spec = _spec(folder, hub.url)
            command = [sys.executable, "-m", "jobs", "sweep", str(spec), "--quiet"]
            subprocess.run([*command, "--out", str(folder / "calm"), "-j", "2"], check=True)
            for fault in _FAULTS:
                hub.faults.add(fault)
            while killed.total() < args.kills:
                rounds += 1
                out = folder / f"round{rounds}"
                poisoned += _under_fire(command, out, rng, killed)
                wrong += sum(_differs(folder / "calm", out, table) for table in _TABLES)
                print(
                    f"round {rounds}: {dict(killed)} killed so far, {wrong} tables differ",
                    flush=True,
                )
    print(
        f"{args.units} units, {rounds} sweeps, {killed.total()} kills ({dict(killed)}), {poisoned} models "
        f"whose worker was killed twice, {wrong} tables differ, {time.monotonic() - started:.0f} s"
    )
    return 1 if wrong else 0


def _tensors(number: int) -> dict[str, Any]:
    """A perceptron; every fourth has one huge entry, which is a trap."""
    tensors = weights(number, (80, 60), (60, 80), (10, 60))
    if number % 4 == 0:
        tensors["layers.0.weight"][3, 5] = 60.0
    return tensors


def _spec(folder: Path, endpoint: str) -> Path:
    spec = folder / "spec.toml"
    spec.write_text(
        f'[sweep]\nname = "chaos"\n[[source]]\nquery = {{ author = "acme" }}\nendpoint = "{endpoint}"\n'
        "[probes]\nenabled = true\nnum_probes = 8\n[run]\nretries = 1\n"
    )
    return spec


def _under_fire(command: list[str], out: Path, rng: random.Random, killed: Counter[str]) -> int:
    """One sweep to its end, whatever dies; the models that counted as poison."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(3)]
    sweep = [*command, "--out", str(out), "--runner", "ray", "--address", cluster.address]
    driver = subprocess.Popen(sweep)
    try:
        while driver.poll() is None:
            time.sleep(rng.uniform(*_PAUSE_S))
            victim = rng.choice(["worker", "worker", "node", "driver"])
            if victim == "driver" and driver.poll() is None:
                driver.kill()
                driver.wait()
                driver = subprocess.Popen(sweep)
            elif victim == "node":
                lose(cluster, nodes.pop(rng.randrange(len(nodes))))
                nodes.append(cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))
            elif victim == "worker" and not _kill_a_worker(rng):
                continue
            killed[victim] += 1
        poisoned = 0
        if driver.returncode == 1:
            status = subprocess.run(
                [*command[:3], "sql", str(out), "select count(*) c from failures_open", "--format", "json"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            poisoned = int(json.loads(status.stdout)[0]["c"])
            driver = subprocess.Popen([*sweep, "--overwrite", "failed"])
        if driver.wait() != 0:
            raise SystemExit(f"the sweep ended with {driver.returncode}")
        return poisoned
    finally:
        with suppress(ProcessLookupError):
            driver.kill()
        cluster.shutdown()


def _kill_a_worker(rng: random.Random) -> bool:
    """SIGKILL to one of the processes that measure; False: there is none now."""
    workers = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        if words[0].startswith("ray::_Actor"):
            workers.append(process)
    if not workers:
        return False
    with suppress(psutil.NoSuchProcess):
        rng.choice(sorted(workers, key=lambda p: p.pid)).kill()
    return True


def _differs(calm: Path, out: Path, table: str) -> bool:
    """True, and says where, when a table is not the undisturbed one."""
    want, got = (
        [{k: v for k, v in row.items() if k not in _OF_THE_RUN} for row in numbers(root, table)]
        for root in (calm, out)
    )
    if want == got:
        return False
    print(f"{table}: {len(got)} rows, wanted {len(want)}")
    for a, b in zip(want, got, strict=False):
        apart = {k: (a[k], b[k]) for k in a if a[k] != b.get(k)}
        if apart:
            print(f"  first difference: {apart}")
            break
    return True


if __name__ == "__main__":
    raise SystemExit(main())
