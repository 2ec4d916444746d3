"""A gpt-oss-20b of random bytes, planned and swept from the loopback Hub, against the guarantees.

    python -m benchmarks.gpt_oss [--blocks 2] [--experts sample:2] [--no-embedding]

The config is true to shape (24 layers, hidden 2,880, 32 experts, vocabulary 201,088); the files hold the
embedding and the first `--blocks` layers, experts as MXFP4. The Hub runs in a process of its own. Printed:
peak memory of the worker against three times the largest float32 matrix plus 1 GiB, bytes fetched against
bytes analysed, seconds. Random bytes say nothing about real spectra.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import psutil

from zoo.loopback import run

GIB = 2**30
HIDDEN, EXPERTS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 2880, 32, 64, 8, 64, 201_088
CONFIG = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 24,
    "hidden_size": HIDDEN,
    "intermediate_size": HIDDEN,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": 4,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
}
BYTES = {"BF16": 2, "U8": 1}
CHUNK = 1 << 24


@dataclass(frozen=True)
class Tensor:
    """One tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return prod(self.shape) * BYTES[self.dtype]


def block_tensors(block: int) -> Iterator[Tensor]:
    """The tensors of one layer of gpt-oss-20b."""
    stem = f"model.layers.{block}"
    for part, out in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
        yield Tensor(f"{stem}.self_attn.{part}_proj.weight", "BF16", (out * HEAD_DIM, HIDDEN))
        yield Tensor(f"{stem}.self_attn.{part}_proj.bias", "BF16", (out * HEAD_DIM,))
    yield Tensor(f"{stem}.self_attn.o_proj.weight", "BF16", (HIDDEN, HEADS * HEAD_DIM))
    yield Tensor(f"{stem}.self_attn.o_proj.bias", "BF16", (HIDDEN,))
    yield Tensor(f"{stem}.self_attn.sinks", "BF16", (HEADS,))
    yield Tensor(f"{stem}.mlp.router.weight", "BF16", (EXPERTS, HIDDEN))
    yield Tensor(f"{stem}.mlp.router.bias", "BF16", (EXPERTS,))
    for name, rows in (("gate_up_proj", 2 * HIDDEN), ("down_proj", HIDDEN)):
        experts = f"{stem}.mlp.experts.{name}"
        groups = HIDDEN // 32
        yield Tensor(f"{experts}_blocks", "U8", (EXPERTS, rows, groups, 16))
        yield Tensor(f"{experts}_scales", "U8", (EXPERTS, rows, groups))
        yield Tensor(f"{experts}_bias", "BF16", (EXPERTS, rows))
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield Tensor(f"{stem}.{norm}.weight", "BF16", (HIDDEN,))


def write_shard(
    path: Path, tensors: list[Tensor], rng: np.random.Generator, *, quick: bool = False
) -> None:
    """A safetensors file, streamed: sorted by type and name, as its library does.

    `quick`: the values of a tensor repeat after CHUNK bytes; drawing them takes longer than writing.
    """
    tensors = sorted(tensors, key=lambda t: (-BYTES[t.dtype], t.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    raw = json.dumps(header).encode()
    raw = raw.ljust(-(-len(raw) // 8) * 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in tensors:
            drawn = b""
            for start in range(0, tensor.nbytes, CHUNK):
                nbytes = min(CHUNK, tensor.nbytes - start)
                drawn = drawn if quick and start else values(tensor, nbytes, rng)
                file.write(drawn[:nbytes])


def values(tensor: Tensor, nbytes: int, rng: np.random.Generator) -> bytes:
    """Random bytes of a plausible scale: small normal numbers, 4-bit codes, exponents near 2^-7."""
    if tensor.dtype == "BF16":
        normal = rng.standard_normal(nbytes // 2, dtype=np.float32) * np.float32(0.02)
        return (normal.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    if tensor.name.endswith("_scales"):
        return rng.integers(118, 123, nbytes, dtype=np.uint8).tobytes()
    return rng.integers(0, 256, nbytes, dtype=np.uint8).tobytes()


def build(folder: Path, *, blocks: int, embedding: bool, quick: bool = False) -> list[Tensor]:
    """The repository; its tensors. `quick`: see `write_shard`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    shards = [list(block_tensors(block)) for block in range(blocks)]
    if embedding:
        shards.append([Tensor("model.embed_tokens.weight", "BF16", (VOCABULARY, HIDDEN))])
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(folder / name, tensors, np.random.default_rng(number), quick=quick)
        weight_map |= dict.fromkeys((t.name for t in tensors), name)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [tensor for tensors in shards for tensor in tensors]


def serve(root: str, url: multiprocessing.queues.Queue[str], stop: threading.Event) -> None:
    """Body of the server process."""
    run(root, port=0, redirect=True, on_start=url.put, stop=stop)


def zoo(*arguments: object) -> tuple[float, str, dict[str, int]]:
    """Seconds, standard output, and peak resident bytes of the command and of each process below it."""
    started = time.perf_counter()
    peaks: dict[str, int] = {}
    with tempfile.TemporaryFile("w+") as printed:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *map(str, arguments)], stdout=printed
        )
        while process.poll() is None:
            for one in _family(process.pid):
                name = "driver" if one.pid == process.pid else f"process {one.pid}"
                try:
                    peaks[name] = max(peaks.get(name, 0), one.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        printed.seek(0)
        out = printed.read()
    if process.returncode:
        raise SystemExit(f"zoo {arguments[0]} ended with {process.returncode}")
    return seconds, out, peaks


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def main() -> int:
    """Build, serve, plan, sweep, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--experts", default="sample:2")
    parser.add_argument("--shuffle", default="top")
    parser.add_argument("--no-embedding", dest="embedding", action="store_false")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shelf = root / "shelf"
        tensors = build(
            shelf / "openai" / "gpt-oss-20b", blocks=args.blocks, embedding=args.embedding
        )
        print(f"{len(tensors)} tensors, {sum(t.nbytes for t in tensors) / 1e9:.2f} GB on disk")
        urls, stop = context.Queue(), context.Event()
        server = context.Process(target=serve, args=(str(shelf), urls, stop))
        server.start()
        try:
            os.environ["HF_ENDPOINT"] = urls.get(timeout=60)
            spec = root / "spec.toml"
            spec.write_text(
                f'[[source]]\nhub = "openai/gpt-oss-20b"\n[layers]\nexperts = "{args.experts}"\n'
                f'[traps]\nshuffle = "{args.shuffle}"\n'
            )
            measure(root, spec)
        finally:
            stop.set()
            server.join(10)
    return 0


def measure(root: Path, spec: Path) -> None:
    """Plan for all experts and for the spec, then the sweep."""
    import duckdb  # the files alone can be made without it

    everything = root / "all.toml"
    everything.write_text('[[source]]\nhub = "openai/gpt-oss-20b"\n')
    zoo("plan", spec, "--quiet")  # the server hashes its files
    for name, path in (("all experts", everything), ("as swept", spec)):
        seconds, out, peaks = zoo("plan", path, "--format", "json")
        (row,) = json.loads(out)
        print(
            f"plan, {name}: {row['layers']} layers, {row['bytes'] / 1e9:.3f} GB, {row['unknown']} unknown, "
            f"estimate {row['est_s']} s; took {seconds:.1f} s, {peaks['driver'] / GIB:.2f} GiB"
        )
    seconds, _, peaks = zoo("sweep", spec, "--out", root / "catalog", "-j", 1)
    parts = str(root / "catalog" / "{}" / "*" / "*.parquet")
    models, layers = (f"read_parquet('{parts.format(t)}')" for t in ("models", "layers"))
    largest, num, kinds = duckdb.sql(
        f"select max(num_rows * num_cols), count(*), string_agg(distinct status) from {layers}"
    ).fetchall()[0]
    read, analysed, requests = duckdb.sql(
        f"select bytes_read, bytes_analysed, requests from {models} where model_id is not null"
    ).fetchall()[0]
    allowed = 3 * 4 * largest + GIB
    worker = max(peak for name, peak in peaks.items() if name != "driver")
    print(
        f"sweep: {num} layers ({kinds}) in {seconds:.0f} s; worker peak {worker / GIB:.2f} GiB of "
        f"{allowed / GIB:.2f} GiB allowed (largest matrix {largest / 1e6:.0f} M entries); driver "
        f"{peaks['driver'] / GIB:.2f} GiB"
    )
    print(
        f"fetched {read / 1e6:.1f} MB for {analysed / 1e6:.1f} MB analysed: {read / analysed:.4f} "
        f"(1.02 allowed); {requests} requests"
    )


if __name__ == "__main__":
    raise SystemExit(main())
