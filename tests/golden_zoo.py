"""A small zoo whose bytes are the same on every machine, and every number it gives, as text.

`python -m tests.golden_zoo` says what moved against tests/golden; with `--write` it writes it anew.
Weights come from raw PCG64 bits by sums, products and square roots, which IEEE 754 fixes to the
bit, and are written without a library: a folder's bytes are its revision, which seeds its shuffles.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.number_groups import groups_of_columns

GOLDEN = Path(__file__).parent / "golden"
"""One JSON file a table: a row a block, a value a line."""
COMMAND = "python -m tests.golden_zoo --write"
TABLES = ("layers", "traps", "spectra", "models")

Array = NDArray[np.generic]
Reals = NDArray[np.float64]
Row = dict[str, object]
Golden = dict[str, dict[str, Row]]
"""Table -> name of a row -> column -> value."""
ABSENT = "(absent)"

ADVICE = f"""
If this was meant: raise the version of what moved (zoo/version.py: of the metric groups named above,
of the decoder, or NUMBERS_VERSION), say what moved and by how much under "Numbers" in CHANGELOG.md,
and run `{COMMAND}`; the diff of tests/golden belongs to the review.
A new column that moves no old value needs the command alone. If not meant: it is a regression."""

NAMING = (
    "sweep_id", "model_id", "tensor", "part", "delta_base", "expert", "replicate", "trap_index",
)  # fmt: skip
"""Columns that make a row's name, and the sweep's own id."""
LEFT_OUT = {
    *NAMING,
    "analysis_key", "options_key", "asked", "number_versions", "revision", "versions", "committed_at",
    "last_modified", "parts",
    "host", "device", "source",
    "read_s", "spectrum_s", "shuffle_s", "total_s", "seconds", "requests",
}  # fmt: skip
"""Columns that tell of the run and not of the weights; every other one is compared."""

REL = 5e-7
"""Relative change allowed. Other kernels of OpenBLAS (Prescott to SkylakeX) moved 3e-11; an
eigenvalue that is rounded to the neighbouring float32 moves by 1.2e-7, the smallest ones of F64
matrices by as much."""
SINGLE = 5e-6
"""The same of what is computed in float32, shuffles above all; they moved 9e-7 (of λ_max)."""
NOISE = 1e-13
"""Eigenvalues below this share of λ_max are rounding."""
NEAR_ZERO = 2e-6
"""Absolute change allowed in shares, distances and logarithms, perhaps near zero; 5e-7 seen."""

_SINGLE = {
    "abs_weight_entropy", "rand_lambda_max", "rand_mp_sigma", "rand_mp_edge_upper",
    "rand_ks_distance", "rand_ks_p_value", "rand_distance", "trap_threshold", "trap_excess_max",
    "eigenvalue", "excess_rel", "ipr_left", "ipr_right", "localisation_q", "participation_ratio",
    "top5_mass", "top10_mass", "rank1_mass", "top_overlap", "mean_overlap",
}  # fmt: skip
_NEAR_ZERO = {
    "rand_ks_distance", "rand_ks_p_value", "rand_distance", "trap_excess_max", "excess_rel",
    "ipr_left", "ipr_right", "localisation_q", "top5_mass", "top10_mass", "rank1_mass",
    "top_overlap", "mean_overlap",
    "log_norm", "log_spectral_norm", "log_alpha_norm", "alpha_hat", "erg_delta", "erg_log_ratio",
    "tpl_ratio", "tpl_p_value", "lognormal_ratio", "lognormal_p_value", "exponential_ratio",
    "exponential_p_value",
}  # fmt: skip
_TRACY_WIDOM = {"p_value", "trap_p_value"}
"""Down to 1e-267: their logarithms are compared."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what was committed."""

    table: str
    row: str
    column: str
    was: object
    now: object

    def __str__(self) -> str:
        was, now = (text if len(text := repr(v)) < 200 else f"{text[:200]}..." for v in
                    (self.was, self.now))  # fmt: skip
        return f"  {self.table}.{self.column} of [{self.row}]: was {was}, now {now}"


def noise(seed: int, *shape: int) -> Reals:
    """Nearly normal numbers of variance 1: each the sum of four 16-bit integers."""
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    words = np.asarray(raw, dtype="<u8").view("<i2").astype(np.float64)
    return (words.reshape(*shape, 4).sum(axis=-1) + 2.0) / 37837.0


def heavy(seed: int, *shape: int) -> Reals:
    """Noise whose rows have sizes of a heavy tail: 1/√u of a uniform u."""
    raw = np.random.PCG64(seed + 1_000_000).random_raw(shape[0])
    uniform = ((np.asarray(raw, dtype="<u8") >> np.uint64(40)).astype(np.float64) + 1.0) / 2.0**24
    sizes = 1.0 / np.sqrt(uniform)
    return noise(seed, *shape) * sizes.reshape(-1, *([1] * (len(shape) - 1)))


def codes(seed: int, *shape: int, low: int = 0, high: int = 256) -> NDArray[np.uint8]:
    """Bytes from `low` up to `high`."""
    raw = np.asarray(np.random.PCG64(seed).random_raw(int(np.prod(shape))), dtype="<u8")
    picked = low + (raw >> np.uint64(32)) % np.uint64(high - low)
    return picked.astype(np.uint8).reshape(shape)


def bf16(values: Reals) -> NDArray[np.uint16]:
    """The upper halves of the float32 values: bfloat16, cut off."""
    halves = values.astype("<f4").view("<u4") >> np.uint32(16)
    return halves.astype("<u2")


_CODES = {"f8": "F64", "f4": "F32", "f2": "F16", "u1": "U8", "u2": "BF16"}


def write_weights(path: Path, tensors: Mapping[str, Array]) -> None:
    """A safetensors file, byte for byte the same whatever library versions are installed."""
    header: dict[str, object] = {}
    start, pieces = 0, []
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        code = _CODES[f"{values.dtype.kind}{values.dtype.itemsize}"]
        header[name] = {
            "dtype": code,
            "shape": list(values.shape),
            "data_offsets": [start, start + len(raw)],
        }
        pieces.append(raw)
        start += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(pieces))


def write_folder(
    folder: Path,
    tensors: Mapping[str, Array],
    config: Mapping[str, object],
    *,
    name: str = "model.safetensors",
    card: str | None = None,
) -> Path:
    """A model folder; float64 arrays become F32 unless the tensor's name says `f64`."""
    folder.mkdir(parents=True)
    stored = {
        key: values.astype("<f4") if values.dtype == np.float64 and "f64" not in key else values
        for key, values in tensors.items()
    }
    write_weights(folder / name, stored)
    kind = "adapter_" if name.startswith("adapter") else ""
    (folder / f"{kind}config.json").write_text(json.dumps(config))
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def planted(seed: int, rows: int, cols: int, *places: tuple[int, int, float]) -> Reals:
    """Noise with large entries at the given places."""
    values = noise(seed, rows, cols)
    for row, col, entry in places:
        values[row, col] = entry
    return values


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
base_model: golden/other
model-index:
- name: dense
  results:
  - task: {type: text-generation}
    dataset: {name: digits, type: digits}
    metrics:
    - {type: train_accuracy, value: 0.75}
---
"""


def build(root: Path) -> dict[str, Path]:
    """The zoo below `root`; its specs by name."""
    zoo = root / "zoo"
    block = "model.layers.0"
    write_folder(
        zoo / "dense",
        {
            "model.embed_tokens.weight": heavy(1, 90, 24),
            f"{block}.self_attn.qkv_proj.weight": heavy(2, 64, 48),
            f"{block}.self_attn.o_proj.weight": bf16(heavy(3, 104, 100)),
            f"{block}.mlp.up_proj.weight": heavy(4, 160, 30).astype("<f2"),
            f"{block}.mlp.down_proj.weight": noise(5, 30, 160),
            f"{block}.input_layernorm.weight": noise(6, 48),
            "lm_head.weight": heavy(1, 90, 24),
        },
        {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 48,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "tie_word_embeddings": True},
        card=CARD,
    )  # fmt: skip
    write_folder(
        zoo / "kernels",
        {
            "conv1.weight": heavy(10, 14, 9, 3, 3),
            "conv2.weight": noise(11, 70, 68, 1, 2),
            "depthwise.conv.weight": noise(12, 12, 1, 3, 3),
        },
        {"model_type": "cnn"},
    )
    write_folder(
        zoo / "experts",
        {
            f"{block}.mlp.experts.gate_up_proj": heavy(20, 3, 40, 56),
            f"{block}.mlp.experts.down_proj": noise(21, 3, 28, 40) * 1.5,
            f"{block}.mlp.router.weight": noise(22, 3, 40),
        },
        {"model_type": "gpt_oss", "num_local_experts": 3},
    )
    write_folder(
        zoo / "mxfp4",
        {
            f"{block}.mlp.experts.gate_up_proj_blocks": codes(30, 2, 64, 2, 16),
            f"{block}.mlp.experts.gate_up_proj_scales": codes(31, 2, 64, 2, low=120, high=125),
            f"{block}.mlp.experts.down_proj_blocks": codes(32, 2, 64, 1, 16),
            f"{block}.mlp.experts.down_proj_scales": codes(33, 2, 64, 1, low=121, high=124),
        },
        {"model_type": "gpt_oss", "num_local_experts": 2,
         "quantization_config": {"quant_method": "mxfp4"}},
    )  # fmt: skip
    write_folder(
        zoo / "trapped",
        {
            "one.weight": planted(40, 130, 104, (5, 7, 60.0)),
            "small.weight": planted(41, 60, 40, (3, 4, 30.0), (20, 30, 22.0)),
            "mean.weight": noise(42, 70, 50) + 0.4,
        },
        {"model_type": "mlp"},
    )
    left, right = noise(50, 40, 6), noise(51, 6, 30)
    thin = sum(np.multiply.outer(left[:, i], right[i]) for i in range(6))  # products, no BLAS
    broken = noise(52, 12, 10)
    broken[2, 3] = np.nan
    ruled = noise(53, 60, 32) * (2.0 ** -np.arange(32.0))  # spans 18 decades: an SVD in F64
    write_folder(
        zoo / "odd",
        {
            "rank.weight": np.asarray(thin),
            "f64.weight": heavy(54, 50, 36),
            "ruled_f64.weight": ruled,
            "large.weight": planted(55, 60, 45, (1, 2, 40.0)) * 2.0**70,
            "tiny.weight": heavy(56, 44, 33) * 2.0**-60,
            "lost_f64.weight": heavy(57, 30, 20) * 2.0**-700,
            "broken.weight": broken,
            "flat.weight": np.zeros((9, 8)),
            "row.weight": noise(58, 1, 20),
        },
        {"model_type": "mlp"},
    )
    write_folder(
        zoo / "adapter",
        {
            f"base_model.{block}.self_attn.q_proj.lora_A.weight": noise(60, 4, 40),
            f"base_model.{block}.self_attn.q_proj.lora_B.weight": noise(61, 36, 4),
        },
        {"peft_type": "LORA", "r": 4, "lora_alpha": 8},
        name="adapter_model.safetensors",
    )
    write_folder(root / "run" / "step200", {"fc.weight": heavy(70, 40, 24)}, {"model_type": "mlp"})
    start = heavy(80, 60, 40)
    base = {"kept.weight": heavy(81, 40, 30), "fc.weight": start, "wide.weight": noise(82, 50, 30)}
    tuned = {
        **base,
        "fc.weight": bf16(start + heavy(83, 60, 40) * 0.01),
        "wide.weight": noise(82, 51, 30),
        "new.weight": noise(84, 30, 24),
    }
    write_folder(root / "base", base, {"model_type": "mlp"})
    write_folder(root / "tuned", tuned, {"model_type": "mlp"})
    specs = {
        "all": "[[source]]\npath = 'zoo/*'\nname = 'golden'\n"
        "[[source]]\npath = 'run/*'\nname = 'golden'\nstep_pattern = 'step(\\d+)'\n"
        "[tail]\nfarms = true\nalternatives = true\nclip_fingers = true\nbootstrap = 12\n",
        "top": "[[source]]\npath = 'zoo/trapped'\nname = 'golden'\n"
        "[layers]\nfused = 'both'\n[traps]\nshuffle = 'top'\nseed = 7\n",
        "deltas": "[[source]]\npath = 'tuned'\nname = 'golden'\nbase = 'base'\n"
        "[layers]\ndeltas = true\n",
    }
    for name, text in specs.items():
        (root / f"{name}.toml").write_text(text)
    return {name: root / f"{name}.toml" for name in specs}


def measure(root: Path) -> Golden:
    """Build the zoo in `root`, sweep it, and read every number from the Parquet files."""
    from jobs.__main__ import run

    found: Golden = {table: {} for table in TABLES}
    for name, spec in build(root).items():
        catalog = root / f"catalog-{name}"
        code = run(["sweep", str(spec), "--out", str(catalog), "-j", "1", "--quiet"])
        assert code == 0, f"zoo sweep {name}.toml ended with {code}; wanted 0"
        for table in TABLES:
            for row in rows_of(catalog, table):
                title = f"{name}: {row_name(row)}"
                assert title not in found[table], f"two rows of {table} are called {title!r}"
                found[table][title] = values_of(row)
    return found


def rows_of(catalog: Path, table: str) -> list[Row]:
    """The rows of a table, read without the catalog's own code."""
    files = sorted((catalog / table).glob("*/*.parquet"))
    rows: list[Row] = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    return rows


def row_name(row: Row) -> str:
    """What a person calls the row."""
    names = [str(row["model_id"]), str(row.get("tensor") or "")]
    names += [str(row["part"])] if row.get("part") is not None else []
    names += [f"{k} {row[k]}" for k in NAMING[4:] if row.get(k) is not None]
    return " ".join(name for name in names if name)


def values_of(row: Row) -> Row:
    """What is compared of a row; the revision of a model too, because it seeds its shuffles."""
    kept = {k: v for k, v in row.items() if k not in LEFT_OUT}
    if "layers_analysed" in row:
        kept["revision"] = row["revision"]
    return {k: _seven_digits(v) if k.endswith("eigenvalues") else v for k, v in kept.items()}


def _seven_digits(values: object) -> object:
    return [float(f"{v:.7g}") for v in values] if isinstance(values, list) else values


def dump(rows: Mapping[str, Row]) -> str:
    """JSON with one value a line, rows and columns sorted, floats by repr."""
    blocks = []
    for name in sorted(rows):
        lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(rows[name].items()))
        blocks.append(f"{json.dumps(name)}: {{\n  " + ",\n  ".join(lines) + "\n}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def committed() -> Golden:
    """What tests/golden says."""
    return {table: json.loads((GOLDEN / f"{table}.json").read_text()) for table in TABLES}


def write(found: Golden) -> None:
    """Make it what tests/golden says."""
    GOLDEN.mkdir(exist_ok=True)
    for table, rows in found.items():
        (GOLDEN / f"{table}.json").write_text(dump(rows))


def differences(old: Golden, new: Golden) -> Iterator[Difference]:
    """Whatever is not the same within the tolerances."""
    for table in TABLES:
        for name in sorted(old[table].keys() | new[table].keys()):
            before, after = old[table].get(name), new[table].get(name)
            if before is None or after is None:
                yield Difference(table, name, "the whole row", *map(_seen, (before, after)))
                continue
            for column in sorted(before.keys() | after.keys()):
                was, now = before.get(column, ABSENT), after.get(column, ABSENT)
                if not _is_same(column, before, was, now):
                    yield Difference(table, name, column, was, now)


def report(found: Sequence[Difference], *, most: int = 40) -> str:
    """What moved, and what to do about it."""
    counts = Counter(f"{d.table}.{d.column}" for d in found)
    lines = [f"{len(found)} values are not those of tests/golden:", *map(str, found[:most])]
    if len(found) > most:
        lines += [f"... and {len(found) - most} more; values a column:"]
        lines += [f"  {number:5} {column}" for column, number in counts.most_common()]
    groups = groups_of_columns()
    moved = sorted({groups.get(d.column) or "none: NUMBERS_VERSION, or a decoder" for d in found})
    lines.append(f"metric groups that moved: {', '.join(moved)}")
    return "\n".join([*lines, ADVICE])


def _seen(row: Row | None) -> str:
    return ABSENT if row is None else "there"


def _is_same(column: str, row: Row, was: object, now: object) -> bool:
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        top = max((v for v in was if isinstance(v, float)), default=0.0)
        # seven digits, and a step of the last one
        slack = (SINGLE if column.startswith("rand_") else NOISE) * top
        return all(
            abs(a - b) <= 1.2e-6 * abs(a) + slack if isinstance(a, float) else a == b
            for a, b in zip(was, now, strict=True)
        )
    if isinstance(was, float) and isinstance(now, float):
        return abs(now - was) <= _allowed(column, row, was)
    return was == now and type(was) is type(now)


def _allowed(column: str, row: Row, was: float) -> float:
    if column in _TRACY_WIDOM:
        return 2e-5 * was * (1.0 - math.log(was)) if was > 0.0 else 0.0
    allowed = (SINGLE if column in _SINGLE else REL) * abs(was)
    if column in _NEAR_ZERO:
        allowed += NEAR_ZERO
    if column == "lambda_min" and isinstance(row["lambda_max"], float):
        allowed += NOISE * row["lambda_max"]
    return allowed


def main(arguments: Sequence[str]) -> int:
    """Say what moved; with `--write`, write tests/golden anew."""
    if arguments not in ([], ["--write"]):
        print(f"got {' '.join(arguments)!r}; wanted nothing or --write", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    is_there = all((GOLDEN / f"{table}.json").exists() for table in TABLES)
    old = committed() if is_there else {table: {} for table in TABLES}
    moved = list(differences(old, found))
    print(report(moved) if moved else "every value is that of tests/golden")
    if not arguments:
        return 1 if moved else 0
    if moved:
        write(found)
        print(f"written: {', '.join(f'tests/golden/{table}.json' for table in TABLES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
