"""A known model in any disguise: right, or named, never silently other.

The same small model is written under other file names, in shards, under prefixes, in other
precisions, in subfolders, and beside a second state of itself. Whatever the disguise: every matrix
is measured once, all from one state, with the right spectrum, and what is not measured is named; or
the model is refused in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import zoo
from zoo.errors import ZooError

Tensors = dict[str, torch.Tensor]
CONFIG = {
    "model_type": "llama", "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 40,
}  # fmt: skip
SHAPES = {
    "embed_tokens": (40, 24), "layers.0.self_attn.q_proj": (24, 24),
    "layers.0.self_attn.k_proj": (12, 24), "layers.0.self_attn.o_proj": (24, 24),
    "layers.0.mlp.gate_proj": (48, 24), "layers.0.mlp.down_proj": (24, 48),
}  # fmt: skip
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
PREFIXES = ("", "model.", "module.", "_orig_mod.", "ema.", "model_ema.", "student.", "net.")
STEMS = (
    "model", "pytorch_model", "diffusion_pytorch_model", "weights", "last", "best", "model_ema",
    "model_fp16", "model.fp16", "model-000002", "epoch=3-step=100", "my model",
)  # fmt: skip
FOLDERS = ("", "checkpoint-10", "ema", "old", "original", "fp16", "epoch_2", "step100/weights")
FAST = zoo.AnalysisOptions(metrics="tail", shuffle="none")


@dataclass(frozen=True)
class Copy:
    """One state of the model as it lies on disk."""

    seed: int = 0
    """Two copies of one seed hold the same weights."""
    dtype: str = "f32"
    prefix: str = "model."
    stem: str = "model"
    folder: str = ""
    is_pickle: bool = False
    num_shards: int = 1
    is_indexed: bool = True

    def tensors(self) -> Tensors:
        """The matrices under their names in the file, and one vector."""
        state = {
            f"{self.prefix}{name}.weight": matrix.to(DTYPES[self.dtype])
            for name, matrix in matrices(self.seed).items()
        }
        return {**state, f"{self.prefix}norm.weight": torch.ones(24).to(DTYPES[self.dtype])}

    def files(self) -> dict[str, Tensors]:
        """What lies in which file; with several shards their index is another file."""
        ending = "bin" if self.is_pickle else "safetensors"
        place = f"{self.folder}/" if self.folder else ""
        if self.num_shards == 1:
            return {f"{place}{self.stem}.{ending}": self.tensors()}
        names = list(self.tensors())
        return {
            f"{place}{self.stem}-{i + 1:05}-of-{self.num_shards:05}.{ending}": {
                name: self.tensors()[name] for name in names[i :: self.num_shards]
            }
            for i in range(self.num_shards)
        }

    def write(self, root: Path) -> None:
        """Raises FileExistsError where another copy lies already."""
        for name, tensors in self.files().items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise FileExistsError(path)
            if self.is_pickle:
                torch.save(tensors, path)
            else:
                save_file(tensors, path, metadata={"format": "pt"})
        if self.num_shards > 1 and self.is_indexed:
            ending = "bin" if self.is_pickle else "safetensors"
            where = {n: Path(file).name for file, held in self.files().items() for n in held}
            index = root / self.folder / f"{self.stem}.{ending}.index.json"
            index.write_text(json.dumps({"metadata": {}, "weight_map": where}))


def matrices(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.standard_t(4, shape) * 0.05).float()
        for name, shape in SHAPES.items()
    }


def spectra(copy: Copy) -> dict[str, float]:
    """Largest eigenvalue of each matrix as it is stored."""
    stored = {n: m.to(DTYPES[copy.dtype]).double() for n, m in matrices(copy.seed).items()}
    return {n: float(np.linalg.svd(m, compute_uv=False)[0] ** 2) for n, m in stored.items()}


def measured(root: Path, copies: tuple[Copy, ...]) -> zoo.Report | str:
    """The report of the folder that holds the copies, or why it is refused."""
    (root / "config.json").write_text(json.dumps(CONFIG))
    for copy in copies:
        copy.write(root)
    try:
        return zoo.analyze(root, options=FAST)
    except ZooError as error:
        return str(error)


def name_of(tensor: str) -> str:
    """Which of the known matrices a row is of."""
    return next(name for name in SHAPES if tensor.endswith(f"{name}.weight"))


def assert_one_state(report: zoo.Report, copies: tuple[Copy, ...]) -> None:
    values: dict[str, float] = {}
    for row in report.layers:
        if row["status"] == "ok":
            name = name_of(str(row["tensor"]))
            assert name not in values, f"{name} is two layers"
            assert isinstance(row["lambda_max"], float)
            values[name] = row["lambda_max"]
    assert any(same(values, spectra(copy)) for copy in copies), "not the matrices of one state"
    named = {left.file for left in report.left_out}
    told = len(report.entries) + sum(
        len(held) for copy in copies for file, held in copy.files().items() if file in named
    )
    assert told == sum(len(copy.tensors()) for copy in copies), "tensors that nothing names"


def same(values: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return values.keys() == expected.keys() and all(
        np.isclose(values[name], expected[name], rtol=1e-5) for name in values
    )


COPIES = st.builds(
    Copy,
    seed=st.integers(0, 1),
    dtype=st.sampled_from(list(DTYPES)),
    prefix=st.sampled_from(PREFIXES),
    stem=st.sampled_from(STEMS),
    folder=st.sampled_from(FOLDERS),
    is_pickle=st.booleans(),
    num_shards=st.integers(1, 3),
    is_indexed=st.booleans(),
)


@given(copy=COPIES)
@settings(max_examples=60, deadline=None)
def test_a_model_under_any_name_is_itself(copy: Copy) -> None:
    with TemporaryDirectory() as folder:
        report = measured(Path(folder), (copy,))
        assert not isinstance(report, str), report
        assert_one_state(report, (copy,))


@given(one=COPIES, other=COPIES)
@settings(max_examples=150, deadline=None)
def test_two_states_of_a_model_are_never_two_models_in_one(one: Copy, other: Copy) -> None:
    with TemporaryDirectory() as folder:
        try:
            report = measured(Path(folder), (one, other))
        except FileExistsError:
            return
        if isinstance(report, str):
            assert len(report) > 40, "a refusal in words"
        else:
            assert_one_state(report, (one, other))


@given(one=COPIES, other=COPIES)
@settings(max_examples=60, deadline=None)
def test_two_states_in_one_file_are_never_two_models_in_one(one: Copy, other: Copy) -> None:
    if one.prefix == other.prefix:
        return
    both = {**one.tensors(), **other.tensors()}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "config.json").write_text(json.dumps(CONFIG))
        save_file(both, root / "model.safetensors", metadata={"format": "pt"})
        try:
            report = zoo.analyze(root, options=FAST)
        except ZooError as error:
            assert len(str(error)) > 40
            return
        assert_one_state(report, (one, other))
