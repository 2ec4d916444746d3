"""From a store to reports: what is read, how often, and in which pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.hub_folders import fresh_session
from tests.models import write_model
from zoo.hub.client import HubClient, HubOptions
from zoo.hub.listing import resolve_model
from zoo.hub.repository import HubStore
from zoo.loopback.server import HubServer
from zoo.measure import pieces as pieces_module
from zoo.measure.model import measure, open_model
from zoo.measure.reports import LayerReport
from zoo.options import AnalysisOptions, LayerSelection

EXPERTS, FFN, HIDDEN = 4, 160, 320
FAST = AnalysisOptions(shuffle="none")
GPT_OSS = {"model_type": "gpt_oss", "num_local_experts": EXPERTS, "num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def _session() -> Iterator[None]:
    with fresh_session():
        yield


def mxfp4_experts(seed: int = 0) -> dict[str, np.ndarray]:
    """One block of a gpt-oss: gate and up interleaved, blocks and scales apart."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for name, rows, cols in (("gate_up_proj", 2 * FFN, HIDDEN), ("down_proj", HIDDEN, FFN)):
        stem = f"model.layers.0.mlp.experts.{name}"
        groups = cols // 32
        found[f"{stem}_blocks"] = rng.integers(0, 256, (EXPERTS, rows, groups, 16), dtype=np.uint8)
        found[f"{stem}_scales"] = rng.integers(118, 122, (EXPERTS, rows, groups), dtype=np.uint8)
        found[f"{stem}_bias"] = np.zeros((EXPERTS, rows), np.float32)
    return found


def read_through_hub(
    root: Path, selection: LayerSelection | None = None
) -> tuple[list[LayerReport], int, int]:
    """Reports; bytes fetched; bytes of the analysed layers."""
    with HubServer(root) as hub:
        client = HubClient(hub.url, options=HubOptions(wait_initial_s=0.01))
        sha = resolve_model(client, "acme/moe").sha
        store = HubStore("acme/moe", sha, client)
        try:
            opened = open_model(store, selection or LayerSelection())
            reports = list(measure(opened, FAST))
            return reports, store.counters.bytes_read, sum(num_bytes(r) for r in reports)
        finally:
            store.close()


def num_bytes(report: LayerReport) -> int:
    found = report.columns["bytes_read"]
    assert isinstance(found, int)
    return found


def test_a_big_stack_of_experts_is_read_once_expert_by_expert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = mxfp4_experts()
    write_model(tmp_path / "acme" / "moe", tensors, config=GPT_OSS)
    whole, _, _ = read_through_hub(tmp_path)
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    pieces, fetched, analysed = read_through_hub(tmp_path)
    stored = sum(t.nbytes for name, t in tensors.items() if not name.endswith("_bias"))
    assert len(pieces) == 3 * EXPERTS
    assert analysed == stored
    assert fetched <= analysed + 2 * 2**16  # the head of the file, with its header, and config.json
    for left, right in zip(whole, pieces, strict=True):
        assert left.columns["lambda_max"] == right.columns["lambda_max"]


def test_experts_left_out_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = mxfp4_experts()
    write_model(tmp_path / "acme" / "moe", tensors, config=GPT_OSS)
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    reports, fetched, analysed = read_through_hub(tmp_path, LayerSelection(experts="sample:1"))
    stored = sum(t.nbytes for name, t in tensors.items() if not name.endswith("_bias"))
    assert [r.columns["part"] for r in reports] == [None, "gate", "up"]
    assert analysed == stored // EXPERTS
    assert fetched <= analysed + 2 * 2**16


def test_parts_of_a_big_fused_matrix_are_read_by_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.self_attn.qkv_proj.weight"
    tensors = {name: rng.standard_normal((600, 200), dtype=np.float32)}
    config = {"model_type": "phi3", "num_attention_heads": 2, "hidden_size": 200}
    write_model(tmp_path / "acme" / "moe", tensors, config=config)
    whole, _, _ = read_through_hub(tmp_path)
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    pieces, fetched, analysed = read_through_hub(tmp_path)
    assert [r.columns["part"] for r in pieces] == ["q", "k", "v"]
    assert analysed == tensors[name].nbytes
    assert fetched <= analysed + 2**10
    for left, right in zip(whole, pieces, strict=True):
        assert left.columns["lambda_max"] == right.columns["lambda_max"]
