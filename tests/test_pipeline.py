"""The pipeline of an accelerator, run on the CPU: the numbers of the plain path bit for bit, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import weights, write_model
from tests.test_model import GPT_OSS, mxfp4_experts
from zoo.errors import DeviceLostError
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.measure import pieces as pieces_module
from zoo.measure import pipeline
from zoo.measure import plan as plan_module
from zoo.measure.layer import LayerMeasures
from zoo.measure.model import Model, measure, open_model
from zoo.measure.pipeline import StageTimes, measure_in_batches
from zoo.measure.plan import Batch
from zoo.measure.reports import LayerReport
from zoo.options import AnalysisOptions, LayerSelection

CPU = torch.device("cpu")
OPTIONS = AnalysisOptions(device="cpu", metrics="tail")
TIMINGS = {"read_s", "spectrum_s", "shuffle_s", "total_s"}


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    """Equal matrices in several blocks, a pooled kernel, a router, experts as MXFP4, one broken matrix."""
    tensors = weights(3, *[(40, 30)] * 5, (30, 40), (24, 8, 3, 3), (64, 48))
    broken = np.array(tensors["layers.2.weight"])
    broken[3, 4] = np.nan
    tensors["layers.2.weight"] = broken
    with opened(tmp_path, {**tensors, **mxfp4_experts()}) as held:
        yield held


class opened:
    """A model in a folder, open."""

    def __init__(self, folder: Path, tensors: dict[str, np.ndarray]) -> None:
        write_model(folder / "model", tensors, config=GPT_OSS)
        self._store = LocalLocation.of(folder / "model").open()

    def __enter__(self) -> Model:
        return open_model(self._store, LayerSelection())

    def __exit__(self, *_: object) -> None:
        self._store.close()


def in_batches(
    model: Model, options: AnalysisOptions = OPTIONS, **more: object
) -> list[LayerReport]:
    keywords: dict[str, object] = {"device": CPU, "memory_gb": 80, **more}
    return list(measure_in_batches(model.specs, model.checkpoint, options, **keywords))  # type: ignore[arg-type]


def numbers(reports: Sequence[LayerReport]) -> dict[int, dict[str, object]]:
    return {
        report.row.name.layer_index: {
            **{name: cell for name, cell in report.columns.items() if name not in TIMINGS},
            "eigenvalues": None if report.spectrum is None else report.spectrum.evals.tobytes(),
        }
        for report in reports
    }


@pytest.mark.parametrize("metrics", ["tail", "all"])
def test_batches_give_the_numbers_of_the_plain_path(model: Model, metrics: str) -> None:
    options = AnalysisOptions(device="cpu", metrics=metrics)  # type: ignore[arg-type]
    plain = numbers([r for r in measure(model, options) if r.row.stored.decoder])
    together = numbers(in_batches(model, options))
    assert together == plain
    (failed,) = [row for row in together.values() if row["status"] == "failed"]
    assert failed["reason"] == "non_finite: 1 of 1200 entries"


def test_reports_of_a_section_come_in_file_order(model: Model) -> None:
    order = [report.row.name.layer_index for report in in_batches(model)]
    assert order == sorted(order)


def test_groups_of_weights_give_the_rows_of_all(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = plan_module.plan_of(model.specs, memory_gb=80, section_bytes=20_000)
    monkeypatch.setattr(plan_module.plan_of, "__kwdefaults__", {"section_bytes": 20_000})
    assert len(sections) > 3
    parts = [r for s in sections for r in in_batches(model, weights=s.weights)]
    assert numbers(parts) == numbers(in_batches(model))


def test_experts_of_a_big_stack_are_read_several_at_a_time(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = numbers(in_batches(model))
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(plan_module, "_LOAD_BYTES", 4 * 2 * 320 * 320)
    assert numbers(in_batches(model)) == whole


def test_a_matrix_beyond_the_card_is_measured_on_the_processor_and_says_so(model: Model) -> None:
    plain = numbers(in_batches(model))
    (batch,) = {
        b
        for s in plan_module.plan_of(model.specs, memory_gb=80)
        for b in s.batches
        if b.specs[0].rows == 64
    }
    too_large = pipeline._begin(
        Batch(batch.specs, fits=False), [batch.specs[0].load(model.checkpoint)], OPTIONS
    )
    (measures,) = too_large
    assert measures.measured.outcome.reason == pipeline._TOO_LARGE
    assert measures.columns["alpha"] == plain[batch.specs[0].layer_index]["alpha"]


def test_a_card_that_disappears_is_nobodys_fault(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> Iterator[LayerMeasures]:
        raise RuntimeError(
            "CUDA error: unspecified launch failure\nCUDA kernel errors might be ..."
        )

    monkeypatch.setattr(pipeline, "measure_layers", gone)
    with pytest.raises(DeviceLostError, match="unspecified launch failure") as caught:
        in_batches(model)
    assert caught.value.cause == "infra"


def test_a_weight_that_cannot_be_decoded_fails_its_layers_and_no_others(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.errors import DecodeError

    real = Checkpoint.read

    def read(checkpoint: Checkpoint, name: str, rows: object = None) -> torch.Tensor:
        if name == "layers.1.weight":
            raise DecodeError("torn")
        return real(checkpoint, name, rows)  # type: ignore[arg-type]

    whole = numbers(in_batches(model))
    monkeypatch.setattr(Checkpoint, "read", read)
    rest = numbers(in_batches(model))
    failed = [at for at, row in rest.items() if row["reason"] == "undecodable: torn"]
    assert [whole[at]["tensor"] for at in failed] == ["layers.1.weight"]
    assert {at: row for at, row in rest.items() if at not in failed} == {
        at: row for at, row in whole.items() if at not in failed
    }


def test_a_file_that_cannot_be_read_ends_the_model(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.errors import TransientError

    def read(*_: object) -> torch.Tensor:
        raise TransientError("the line went dead")

    monkeypatch.setattr(Checkpoint, "read", read)
    with pytest.raises(TransientError, match="line went dead"):
        in_batches(model)


def test_a_caller_that_leaves_early_leaves_no_thread_behind(model: Model) -> None:
    import threading

    reports = measure_in_batches(model.specs, model.checkpoint, OPTIONS, device=CPU, memory_gb=80)
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name in ("zoo-load", "zoo-compute")]


def test_the_times_of_the_stages_are_told(model: Model) -> None:
    times = StageTimes()
    reports = in_batches(model, times=times)
    assert times.load_s > 0 and times.compute_s > 0
    assert sum(count for _, _, count, _ in times.batches) == len(reports)
