"""Keys of weights and of settings: what counts, what does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zoo
from zoo.io.weights_key import INERT_SETTINGS, settings_key, weights_key

SHARDS = {"model-1-of-2.safetensors": "x", "model-2-of-2.safetensors": "y"}


def key(digests: dict[str, str], *others: str, size: int = 9) -> str | None:
    """Of files with these digests, beside `others` of which nothing is known but the size."""
    return weights_key(dict.fromkeys([*digests, *others], size), digests)


def test_text_and_tokenizers_do_not_count() -> None:
    assert key(SHARDS) == key(SHARDS, "README.md", "tokenizer.json", "LICENSE")


@pytest.mark.parametrize(
    "other",
    [
        {**SHARDS, "model-2-of-2.safetensors": "z"},
        {"model-1-of-2.safetensors": "y", "model-2-of-2.safetensors": "x"},
        {**SHARDS, "model.safetensors.index.json": "i"},
        {f"unet/{name}": digest for name, digest in SHARDS.items()},
        {**SHARDS, "model.fp16.safetensors": "f"},
    ],
    ids=["bytes", "order", "index", "folder", "more"],
)
def test_what_decides_which_tensors_there_are_counts(other: dict[str, str]) -> None:
    assert key(SHARDS) != key(other)


def test_files_that_are_named_and_not_read_count_by_their_size() -> None:
    assert key(SHARDS, "model.onnx") != key(SHARDS)
    assert key(SHARDS, "model.onnx", size=9) != key(SHARDS, "model.onnx", size=8)
    assert key(SHARDS, "optimizer.pt") != key(SHARDS)


def test_files_of_other_libraries_count_by_their_bytes_where_they_are_all_there_is() -> None:
    assert key({"model.h5": "x"}) != key({"model.h5": "y"})
    assert key({}, "model.h5") is None


def test_the_only_file_may_have_another_name_unless_that_says_something() -> None:
    assert key({"a.safetensors": "x"}) == key({"b.safetensors": "x"})
    assert key({"a.safetensors": "x"}) != key({"sub/a.safetensors": "x"})
    assert key({"a.safetensors": "x"}) != key({"a-1-of-2.safetensors": "x"})
    assert key({"a.gguf": "x"}) != key({"mmproj.gguf": "x"})


def test_weights_of_unknown_bytes_and_no_weights_have_no_key() -> None:
    assert key({}, "model.safetensors") is None
    assert key({}, "README.md") is None


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "llama"},
        {"tie_word_embeddings": True},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"num_attention_heads": 8},
        {"a_key_nobody_knows": 1},
        {"text_config": {"head_dim": 64}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_counts_unless_it_is_known_to_decide_nothing(
    change: dict[str, object],
) -> None:
    config = {"model_type": "mlp", "text_config": {"head_dim": 32}}
    assert settings_key({"config.json": config}) != settings_key({"config.json": config | change})


def test_inert_settings_do_not_count_at_any_depth() -> None:
    inert = dict.fromkeys(INERT_SETTINGS, "anything")
    config = {"model_type": "mlp", "text_config": {"head_dim": 32}}
    noted = {**inert, "model_type": "mlp", "text_config": {**inert, "head_dim": 32}}
    assert settings_key({"config.json": config}) == settings_key({"config.json": noted})


def test_the_file_in_which_a_setting_stands_counts() -> None:
    config = {"bits": 4}
    assert settings_key({"config.json": config}) != settings_key({"quant_config.json": config})


NO_NUMBER = ("weights_key.py", "configs.py")
"""The second reads there which base is meant, whose weights have a key of their own."""


def test_no_module_that_measures_reads_an_inert_setting() -> None:
    """Else equal keys would not mean equal numbers."""
    root = Path(zoo.__file__).parent
    for path in root.rglob("*.py"):
        if path.name in NO_NUMBER or "loopback" in path.parts:
            continue
        constants = (
            n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)
        )
        assert not INERT_SETTINGS & {c for c in constants if isinstance(c, str)}, path
