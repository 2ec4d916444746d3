"""The specs of foundation models, each planned on repositories true to shape: names, shapes, formats, shards.

The depth and some vocabularies are cut, as a folder is hashed to be pinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from jobs.sources.target import Failure
from jobs.spec.load import load_spec, parse_spec
from jobs.units.listed import units_of
from jobs.units.plan import UnitPlan, plan_units
from tests import true_to_shape as shapes

SPECS = Path(__file__).parents[1] / "jobs" / "specs"
LLAMA = {"layers": 1, "width": 5120, "mlp": 13_824, "words": 1000, "kv": 5120, "q": 5120}
QWEN = {"layers": 2, "width": 1024, "mlp": 3072, "words": 1000, "kv": 1024, "q": 2048}

MODELS: Mapping[str, tuple[str, str, Callable[[], shapes.Tensors], int, int]] = {
    "openai/gpt-oss-20b": ("gpt-oss", "gpt_oss", lambda: shapes.gpt_oss(32, 1), 3, 5 + 4 * 3 + 2),
    "tiiuae/falcon-7b": ("falcon", "falcon", lambda: shapes.falcon_7b(1), 2, 6 + 2),
    "huggyllama/llama-13b": ("llama", "llama", lambda: shapes.llama(**LLAMA, dtype="F16"), 3, 7 + 2),
    "EleutherAI/pythia-70m": ("pythia", "gpt_neox", shapes.pythia_70m, 1, 6 * 6 + 2),
    "Qwen/Qwen3-0.6B": (
        "qwen", "qwen3", lambda: shapes.llama(**QWEN, dtype="BF16", tied=True), 1, 2 * 7 + 1,
    ),
    "openai-community/gpt2": ("gpt2", "gpt2", lambda: shapes.gpt2(2), 1, 2 * 6 + 2),
    "google/vit-base-patch16-224": ("vision", "vit", lambda: shapes.vit_base(2), 1, 2 * 6 + 3),
    "timm/resnet18.tv_in1k": ("vision", "resnet", shapes.resnet18, 1, 21),
    "timm/vgg16.tv_in1k": ("vision", "vgg", shapes.vgg16, 1, 16),
}  # fmt: skip
"""Spec, model type, tensors, shards, and the layers that a sweep would measure."""
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "falcon": {"num_attention_heads": 71, "multi_query": True, "hidden_size": 4544,
               "new_decoder_architecture": False},
    "gpt_neox": {"num_attention_heads": 8, "hidden_size": 512},
    "gpt2": {"n_head": 12, "n_embd": 768},
    "gpt_oss": {"num_local_experts": 32, "quantization_config": {"quant_method": "mxfp4"}},
    "llama": {"num_attention_heads": 40, "num_key_value_heads": 40, "hidden_size": 5120},
    "qwen3": {"num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024,
              "tie_word_embeddings": True},
}  # fmt: skip
"""What of config.json decides how tensors are cut."""


def planned(model: str, folder: Path) -> UnitPlan:
    """The spec of `model` planned on its repository, which lies in a folder here."""
    name, kind, tensors, shards, _ = MODELS[model]
    config = {"model_type": kind, "architectures": ["X"], **SETTINGS.get(kind, {})}
    snapshot = folder / f"models--{model.replace('/', '--')}" / "snapshots" / ("0" * 40)
    root = shapes.put(
        snapshot, config, tensors(), shards=shards
    )  # a cache's commit: no byte is hashed
    spec, _ = load_spec(SPECS / f"{name}.toml")
    asked = any(
        s.hub == model or (s.query and s.query.author == model.split("/")[0]) for s in spec.source
    )
    assert asked, f"{name}.toml does not name {model}"
    source = spec.source[0].model_copy(
        update={"hub": None, "query": None, "revisions": None, "path": str(root)}
    )
    here = spec.model_copy(update={"source": (source,)})
    ((_, plan),) = plan_units(units_of(here, lambda _: None), headers=1)
    assert plan is not None and not isinstance(plan, Failure), plan
    return plan


@pytest.mark.parametrize("model", MODELS)
def test_a_spec_finds_every_matrix_of_its_models(model: str, tmp_path: Path) -> None:
    plan = planned(model, tmp_path)
    assert plan.num_layers == MODELS[model][4]
    assert plan.num_failed == 0 and not plan.fates.get("unknown")


def test_every_spec_can_be_read_and_says_how_to_run_it() -> None:
    paths = sorted(SPECS.glob("*.toml"))
    assert {path.stem for path in paths} == {name for name, *_ in MODELS.values()}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        spec = parse_spec(text, folder=SPECS, name=path.name)
        assert spec.sweep.name == path.stem and f"zoo plan jobs/specs/{path.name}" in text
