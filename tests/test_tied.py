"""Tied tensors are analysed once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from zoo.formats.account import account
from zoo.formats.weight import Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.layers.spec import Taken
from zoo.layers.take import take, take_layers
from zoo.layers.tied import Digest, digest_of
from zoo.options import LayerSelection


class Counting:
    """A digest that keeps a record of what it was asked."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, weight: Weight, *, whole: bool) -> str:
        self.asked.append((weight.name, whole))
        return self.digest(weight, whole=whole)


def opened(folder: Path, tensors: Mapping[str, torch.Tensor]) -> Checkpoint:
    save_file(dict(tensors), folder / "model.safetensors")
    return open_checkpoint(LocalLocation(str(folder)).open())


def taken(
    checkpoint: Checkpoint, config: Mapping[str, object], digest: Digest | None = None
) -> Taken:
    digest = digest_of(checkpoint) if digest is None else digest
    return take_layers(account(checkpoint), config, LayerSelection(), digest=digest)


def random(seed: int, rows: int = 500) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def test_a_head_equal_to_the_embedding_is_skipped_and_names_it(tmp_path: Path) -> None:
    stored = {"lm_head.weight": random(0), "model.embed_tokens.weight": random(0)}
    with opened(tmp_path, stored) as checkpoint:
        found = taken(checkpoint, {})
    head, embedding = found.specs
    assert (head.tied_to, head.skip_reason) == ("model.embed_tokens.weight", "tied")
    assert embedding.is_measurable
    assert found.entries[0].reason == "tied: model.embed_tokens.weight"


def test_the_three_embeddings_of_t5_are_analysed_once(tmp_path: Path) -> None:
    names = ["decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "shared.weight"]
    with opened(tmp_path, {name: random(1) for name in names}) as checkpoint:
        specs = taken(checkpoint, {}).specs
    assert [spec.tied_to for spec in specs] == [None, names[0], names[0]]


def test_different_heads_are_told_apart_by_a_few_rows(tmp_path: Path) -> None:
    stored = {"lm_head.weight": random(0, 100_000), "model.embed_tokens.weight": random(1, 100_000)}
    with opened(tmp_path, stored) as checkpoint:
        counting = Counting(digest_of(checkpoint))
        specs = taken(checkpoint, {"tie_word_embeddings": False}, counting).specs
    assert all(spec.is_measurable for spec in specs)
    assert [whole for _, whole in counting.asked] == [False, False]


def test_one_trained_row_unties_a_head_that_the_config_calls_separate(tmp_path: Path) -> None:
    head = random(0)
    head[123] += 1
    stored = {"lm_head.weight": head, "model.embed_tokens.weight": random(0)}
    with opened(tmp_path, stored) as checkpoint:
        specs = taken(checkpoint, {"tie_word_embeddings": False}).specs
    assert all(spec.is_measurable for spec in specs)


def test_equal_tensors_are_tied_even_when_the_config_calls_them_separate(tmp_path: Path) -> None:
    stored = {"lm_head.weight": random(0), "model.embed_tokens.weight": random(0)}
    with opened(tmp_path, stored) as checkpoint:
        specs = taken(checkpoint, {"tie_word_embeddings": False}).specs
    assert [spec.tied_to for spec in specs] == ["model.embed_tokens.weight", None]


def test_nothing_is_read_when_shapes_or_roles_differ(tmp_path: Path) -> None:
    stored = {"lm_head.weight": random(0), "model.embed_tokens.weight": random(0, 400),
              "layers.0.q_proj.weight": random(0), "layers.1.q_proj.weight": random(0)}  # fmt: skip
    with opened(tmp_path, stored) as checkpoint:
        counting = Counting(digest_of(checkpoint))
        specs = taken(checkpoint, {}, counting).specs
    assert counting.asked == []
    assert all(spec.is_measurable for spec in specs)


def test_half_precision_bytes_are_compared(tmp_path: Path) -> None:
    stored = {"lm_head.weight": random(0).bfloat16(), "embed_tokens.weight": random(0).bfloat16()}
    with opened(tmp_path, stored) as checkpoint:
        assert sum(s.is_measurable for s in taken(checkpoint, {}).specs) == 1


def test_tensors_that_share_their_bytes_are_tied_whatever_their_role(tmp_path: Path) -> None:
    shared, other = torch.randn(6, 4), torch.randn(6, 4)
    stored = {"layers.0.up.weight": shared, "layers.1.up.weight": shared, "layers.2.up.weight": other,
              "layers.3.up.weight": shared.view(4, 6)}  # fmt: skip
    torch.save(stored, tmp_path / "pytorch_model.bin")
    with open_checkpoint(LocalLocation(str(tmp_path)).open()) as checkpoint:
        specs = take(checkpoint, account(checkpoint), LayerSelection()).specs
    assert [spec.tied_to for spec in specs if spec.tensor.startswith("layers.1")] == [
        "layers.0.up.weight"
    ]
    assert sum(spec.tied_to is not None for spec in specs) == 1
