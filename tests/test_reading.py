"""How tensors are fetched: together where a request costs something, and never twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.header import TensorMeta
from zoo.io.local import LocalLocation, LocalStore
from zoo.io.opening import open_checkpoint
from zoo.io.spans import plan_spans, to_stream

KB = 1024


class CostlyStore(LocalStore):
    """A folder that wants few reads, and remembers what was announced."""

    def __init__(self, folder: Path, span_bytes: int) -> None:
        super().__init__(LocalLocation.of(folder))
        self.span_bytes = span_bytes


class AheadStore(CostlyStore):
    """One that can read ahead, too."""

    announced: tuple[tuple[str, int, int], ...] = ()

    def announce(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        self.announced = tuple(wanted)


def meta(name: str, start: int, end: int, file: str = "f") -> TensorMeta:
    return TensorMeta(name, "U8", (end - start,), file, start, end)


def quantised(folder: Path, count: int = 8) -> dict[str, torch.Tensor]:
    """A model whose scales lie far from its weights, as the writer of safetensors puts them."""
    tensors = {}
    for i in range(count):
        tensors[f"l{i}.weight"] = torch.randn(64, 64).to(torch.float8_e4m3fn)
        tensors[f"l{i}.weight_scale"] = torch.rand(64, 1)
    save_file(tensors, folder / "model.safetensors")
    return tensors


def load_all(checkpoint: Checkpoint) -> int:
    """Reads every weight as an analysis does; the bytes of what was wanted."""
    weights = account(checkpoint).weights
    checkpoint.expect(source for weight in weights for source in weight.sources)
    for weight in weights:
        assert weight.load(checkpoint).shape == weight.shape
    return sum(weight.nbytes for weight in weights)


@pytest.mark.parametrize("kind", [CostlyStore, AheadStore])
def test_weights_and_their_distant_scales_are_each_read_once(
    tmp_path: Path, kind: type[CostlyStore]
) -> None:
    quantised(tmp_path)
    store = kind(tmp_path, 10 * KB)
    with open_checkpoint(store) as checkpoint:
        before = store.counters.bytes_read
        wanted = load_all(checkpoint)
    assert store.counters.bytes_read - before <= 1.02 * wanted


def test_distant_scales_cost_few_requests(tmp_path: Path) -> None:
    quantised(tmp_path)
    store = CostlyStore(tmp_path, 10 * KB)
    with open_checkpoint(store) as checkpoint:
        before = store.counters.requests
        load_all(checkpoint)
    assert store.counters.requests - before <= 5


def test_what_lies_ahead_is_announced_in_file_order(tmp_path: Path) -> None:
    quantised(tmp_path)
    store = AheadStore(tmp_path, 10 * KB)
    with open_checkpoint(store) as checkpoint:
        load_all(checkpoint)
        weights = [t for t in checkpoint.tensors.values() if t.name.endswith("weight")]
    assert store.announced == tuple((t.file, t.start, t.end) for t in weights)


def test_a_tensor_read_twice_is_right_twice(tmp_path: Path) -> None:
    tensors = quantised(tmp_path)
    with open_checkpoint(CostlyStore(tmp_path, 10 * KB)) as checkpoint:
        checkpoint.expect(tensors)
        for name in [*tensors, *reversed(tensors)]:
            assert torch.equal(checkpoint.read(name).float(), tensors[name].float())


def test_rows_come_from_a_span_too(tmp_path: Path) -> None:
    tensors = quantised(tmp_path)
    with open_checkpoint(CostlyStore(tmp_path, 1024 * KB)) as checkpoint:
        checkpoint.expect(tensors)
        found = checkpoint.read("l3.weight", (5, 9))
    assert torch.equal(found.float(), tensors["l3.weight"][5:9].float())


def test_memory_for_spans_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.io.reading.MAX_HELD_BYTES", 20 * KB)
    tensors = quantised(tmp_path)
    checkpoint = open_checkpoint(CostlyStore(tmp_path, 10 * KB))
    checkpoint.expect(tensors)
    for name in sorted(tensors, key=lambda n: n[::-1]):
        checkpoint.read(name, (0, 1))  # never to the end: every span stays wanted
        held = checkpoint._reader._held_bytes()  # type: ignore[attr-defined]
        assert held <= 20 * KB
    checkpoint.close()


def test_spans_cover_what_is_wanted_within_their_size() -> None:
    metas = [meta(str(i), 100 * i, 100 * i + 100) for i in range(10)]
    spans = plan_spans(metas, span_bytes=300)
    assert [(s.start, s.end) for s in spans] == [(0, 300), (300, 600), (600, 900), (900, 1000)]
    assert [name for span in spans for name in span.names] == [m.name for m in metas]


def test_a_tensor_larger_than_a_span_is_read_alone() -> None:
    metas = [meta("a", 0, 10), meta("b", 10, 5000), meta("c", 5000, 5010)]
    assert [s.names for s in plan_spans(metas, span_bytes=300)] == [("a",), ("b",), ("c",)]


def test_spans_do_not_cross_files_or_wide_gaps() -> None:
    metas = [meta("a", 0, 10), meta("b", 20, 30), meta("c", 30, 40, "g")]
    assert len(plan_spans(metas, span_bytes=300)) == 3


def test_tensors_that_share_bytes_share_a_span() -> None:
    metas = [meta("a", 0, 100), meta("tied", 0, 100)]
    (span,) = plan_spans(metas, span_bytes=300)
    assert (span.start, span.end) == (0, 100)


def test_a_stream_holds_the_large_tensors_in_file_order() -> None:
    metas = (meta("a.w", 50, 60), meta("a.s", 0, 1), meta("b.w", 61, 70), meta("b.s", 60, 61))
    ahead, others = to_stream(metas)
    assert [m.name for m in ahead] == ["a.w", "b.w"]
    assert [m.name for m in others] == ["a.s", "b.s"]


def test_a_stream_does_not_go_back() -> None:
    metas = (meta("a", 0, 10), meta("c", 20, 30), meta("b", 10, 20), meta("d", 0, 10, "g"))
    ahead, others = to_stream(metas)
    assert [m.name for m in ahead] == ["a", "c", "d"]
    assert [m.name for m in others] == ["b"]


def test_experts_read_one_by_one_cost_one_request_for_their_scales(tmp_path: Path) -> None:
    blocks = torch.zeros(8, 64, 2, 16, dtype=torch.uint8)
    save_file(
        {"e_blocks": blocks, "e_scales": torch.zeros(8, 64, 2, dtype=torch.uint8)},
        tmp_path / "model.safetensors",
    )
    store = AheadStore(tmp_path, 4 * KB)
    with open_checkpoint(store) as checkpoint:
        (weight,) = account(checkpoint).weights
        checkpoint.expect(weight.sources)
        before = store.counters.requests
        for expert in range(8):
            weight.load(checkpoint, (expert, expert + 1))
    assert [name for name, _, _ in store.announced] == ["model.safetensors"]
    assert store.counters.requests - before == 8 + 1
