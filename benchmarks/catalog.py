"""The catalog at ten million layers, and at 20,000 small files: leaderboards, one model, compaction, memory.

    python -m benchmarks.catalog [--rows 10000000] [--files 20000] [--dir FOLDER]

Rows have the full width of `layers` and come from a seed; they are written as merged files, as compaction
leaves them, beside their `models` rows. Questions are asked by `zoo` as whole processes, the fastest of
three runs counts, by the clock and by the CPU. Against: each board 1 s, one model's layers 0.05 s (asked on an open
connection, as a process starts in 0.4 s), compaction 500,000 rows a second, 2 GB, `rank` over small files 5 s. The last
lines extrapolate to a thousand million rows: what a board takes grows with the rows it reads.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog.care.compact import compact
from catalog.files.folder import Folder
from catalog.read.model_page import VIEWS, layers_of
from catalog.read.views import connect
from catalog.schema import TABLES
from catalog.schema.arrow_types import arrow_schema
from catalog.write.commits import prepare
from catalog.write.parts import parquet_writer

LAYERS_A_MODEL = 200
"""Layers of one model: 50,000 models are ten million layers."""
MODELS_A_FILE = 2500
"""Half a million rows, about what compaction puts into one file."""
BOARDS = ("traps", "alignment", "alpha", "composite")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROLES = ("q", "k", "v", "o", "gate", "up", "down")
FAMILIES = ("llama", "qwen3", "bert", "gpt2", "mistral", "gemma3")


def main() -> int:
    """Build, measure and print; 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--dir", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        kept = [
            *large(Path(folder) / "large", args.rows),
            *small(Path(folder) / "small", args.files),
        ]
    return int(not all(kept))


def large(root: Path, num_rows: int) -> list[bool]:
    """Ten million merged rows, by the kept scores of their units and without them."""
    num_models = num_rows // LAYERS_A_MODEL
    started = time.perf_counter()
    build(root, num_models, models_a_file=MODELS_A_FILE, generation="g000001")
    size = sum(file.stat().st_size for file in root.rglob("*.parquet"))
    took = time.perf_counter() - started
    print(f"{num_models * LAYERS_A_MODEL:,} rows, {size / 1e9:.2f} GB, written in {took:.0f} s")
    slow = whole_process("rank", "alpha", str(root), "--quiet")
    print(f"{slow}  zoo rank alpha from the layers, without kept scores")
    print(
        f"{whole_process('compact', str(root), '--grace', '0', '--quiet', rounds=1)}  keeping the scores"
    )
    kept = []
    boards = {}
    for board in BOARDS:
        boards[board] = whole_process("rank", board, str(root), "--quiet")
        kept.append(boards[board].keeps(f"zoo rank {board}", 1.0))
    name = f"org/model-{num_models // 2:06d}"
    with connect(str(root), only=VIEWS) as con:
        kept.append(
            fastest(lambda: layers_of(con, name)).keeps("one model's layers, open connection", 0.05)
        )
    print(f"{whole_process('show', str(root), name, '--quiet')}  zoo show, whole process")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{peak:8.2f} GB  the largest of these processes (wanted 2)")
    for board, took in boards.items():
        each = max(took.cpu_s - 0.6, 0.0) / num_models
        print(
            f"{each * 5e6:8.1f} CPU s  rank {board} at 10⁹ rows (5,000,000 models), {each * 1e6:.2f} µs a model"
        )
    print(
        f"{max(slow.cpu_s - 0.6, 0.0) / num_rows * 1e9:8.0f} CPU s  rank alpha there from the layers"
    )
    return [*kept, peak <= 2.0]


def small(root: Path, num_files: int) -> list[bool]:
    """Hot files, one a unit and table, then their compaction."""
    num_models = num_files // 2
    build(root, num_models, models_a_file=1, generation="hot", layers_a_model=20)
    took = whole_process("rank", "traps", str(root), "--quiet", rounds=1)
    kept = [took.keeps(f"zoo rank traps, {num_files:,} small files", 5.0)]
    print(run("status", str(root)).splitlines()[-1])
    started = time.perf_counter()
    compact(str(root))
    rate = num_models * 20 / (time.perf_counter() - started)
    print(f"{rate:10,.0f} rows/s  compaction of files of 20 rows")
    merged = Path(root.parent) / "merge"
    build(merged, 5000, models_a_file=25, generation="hot")
    started = time.perf_counter()
    compact(str(merged))
    rate = 5000 * LAYERS_A_MODEL / (time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{rate:10,.0f} rows/s  compaction of files of 5,000 rows (wanted 500,000), peak {peak:.2f} GB"
    )
    return [*kept, rate >= 500_000, peak <= 2.0]


def build(
    root: Path,
    num_models: int,
    *,
    models_a_file: int,
    generation: str,
    layers_a_model: int = LAYERS_A_MODEL,
) -> None:
    """A catalog of random models; every column of every row is filled."""
    prepare(str(root))
    folder = Folder.parse(str(root))
    for first in range(0, num_models, models_a_file):
        numbers = np.arange(first, min(first + models_a_file, num_models))
        rng = np.random.default_rng(first)
        parts = {
            "layers": filled("layers", layer_columns(numbers, layers_a_model, rng), rng),
            "models": filled("models", model_columns(numbers, layers_a_model, rng), rng),
        }
        for table, rows in parts.items():

            def write(path: str, table: str = table, rows: pa.Table = rows) -> None:
                with parquet_writer(path, table, {}, tier=generation) as writer:
                    writer.write_table(rows, row_group_size=122_880)

            folder.put_written(write, table, generation, f"part-{first:06d}.parquet")


def layer_columns(
    numbers: np.ndarray, per_model: int, rng: np.random.Generator
) -> dict[str, pa.Array]:
    """The columns that questions look at; the others are random numbers."""
    num = len(numbers) * per_model
    index = np.tile(np.arange(per_model), len(numbers))
    names = pa.array([f"model.layers.{i // 7}.{ROLES[i % 7]}.weight" for i in range(per_model)])
    traps = rng.poisson(0.05, num).astype(float)
    return {
        **keys(np.repeat(numbers, per_model)),
        "layer_index": pa.array(index),
        "tensor": pa.DictionaryArray.from_arrays(pa.array(index), names).dictionary_decode(),
        "role": pa.DictionaryArray.from_arrays(
            pa.array(index % 7), pa.array(ROLES)
        ).dictionary_decode(),
        "block": pa.array(index // 7),
        "status": pa.array(["ok"] * num),
        "alpha": pa.array(2.0 + rng.gamma(2.0, 0.7, num)),
        "num_traps": pa.array(traps),
        "erg_log_ratio": pa.array(rng.standard_normal(num)),
        "delta_base": pa.nulls(num, pa.string()),
        "tied_to": pa.nulls(num, pa.string()),
        "part": pa.nulls(num, pa.string()),
        "expert": pa.nulls(num, pa.int64()),
    }


def model_columns(
    numbers: np.ndarray, per_model: int, rng: np.random.Generator
) -> dict[str, pa.Array]:
    num = len(numbers)
    return {
        **keys(numbers),
        "name": pa.array([f"model-{i:06d}" for i in numbers]),
        "family": pa.array([FAMILIES[i % len(FAMILIES)] for i in numbers]),
        "num_params": pa.array(rng.integers(10**7, 10**11, num)),
        "layers_analysed": pa.array([per_model] * num),
        "step": pa.nulls(num, pa.int64()),
        "asked": pa.array(["{}"] * num),
        "parts": pa.nulls(num, pa.string()),
        "committed_at": pa.array([NOON + timedelta(seconds=int(i)) for i in numbers]),
    }


def keys(numbers: np.ndarray) -> dict[str, pa.Array]:
    return {
        "sweep_id": pa.array(["20261123T120000-00000000"] * len(numbers)),
        "model_id": pa.array([f"org/model-{i:06d}" for i in numbers]),
        "revision": pa.array([f"{i:040x}" for i in numbers]),
        "analysis_key": pa.array(["k" * 32] * len(numbers)),
    }


def filled(table: str, known: Mapping[str, pa.Array], rng: np.random.Generator) -> pa.Table:
    """A table of the full schema: a column that is not `known` gets random values of its type."""
    schema = arrow_schema(table).remove_metadata()
    num = len(known["model_id"])
    columns = []
    for field in schema:
        if field.name in known:
            columns.append(known[field.name].cast(field.type))
        elif pa.types.is_floating(field.type):
            columns.append(pa.array(rng.random(num)).cast(field.type))
        elif pa.types.is_integer(field.type):
            columns.append(pa.array(rng.integers(0, 4096, num)).cast(field.type))
        elif pa.types.is_boolean(field.type):
            columns.append(pa.array(np.zeros(num, bool)))
        elif pa.types.is_string(field.type) and not TABLES[table].column(field.name).choices:
            columns.append(pa.array(["text"] * num))
        else:
            columns.append(pa.nulls(num, field.type))
    return pa.table(columns, schema=schema)


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "jobs", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Took:
    """The fastest of some runs."""

    wall_s: float
    cpu_s: float
    """Of all threads: on a busy machine this tells more."""

    def __str__(self) -> str:
        return f"{self.wall_s:8.3f} s ({self.cpu_s:.2f} CPU s)"

    def keeps(self, what: str, limit: float) -> bool:
        """Print it; True when the limit is kept."""
        print(f"{self}  {what} (wanted {limit:g} s) on {os.cpu_count()} cores", flush=True)
        return self.wall_s <= limit


def whole_process(*arguments: str, rounds: int = 3) -> Took:
    return fastest(lambda: run(*arguments), rounds=rounds)


def fastest(work: Callable[[], object], rounds: int = 3) -> Took:
    took = []
    for _ in range(rounds):
        cpu, started = cpu_seconds(), time.perf_counter()
        work()
        took.append(Took(time.perf_counter() - started, cpu_seconds() - cpu))
    return Took(min(t.wall_s for t in took), min(t.cpu_s for t in took))


def cpu_seconds() -> float:
    """Of this process and those it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


if __name__ == "__main__":
    sys.exit(main())
