"""A gpt-oss true to shape, MXFP4, from the loopback Hub through the pipeline: steady rate, and how busy the card is."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

import torch

from benchmarks import gpt_oss
from benchmarks.gpu_bars import Bar, Section
from zoo.options import AnalysisOptions, LayerSelection

_BLOCKS = 4
_EXPERTS_120B, _BLOCKS_120B = 36 * 128 * 3, 36
"""Matrices of the experts of gpt-oss-120b, and its blocks."""
_TIME = Bar("gpt-oss-120b at the steady rate, attention and embeddings too", 10, "minutes")
_BUSY = Bar("the card is busy between first and last solve", 85, "%", is_least=True)


class Sampler:
    """How often the driver saw a kernel running, read 50 times a second."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            card = pynvml.nvmlDeviceGetHandleByIndex(0)
            while not self._over.wait(0.02):
                busy = pynvml.nvmlDeviceGetUtilizationRates(card).gpu
                self.samples.append((time.perf_counter(), int(busy)))
        except Exception as error:  # a figure less; the times of the pipeline stand beside it
            print(f"no samples of the card: {error}", flush=True)

    def share(self, start: float, end: float) -> float | None:
        """Mean percentage between two moments."""
        inside = [busy for at, busy in self.samples if start <= at <= end]
        return sum(inside) / len(inside) if inside else None


def swept(name: str = "cuda:0", *, memory_gb: int | None = None) -> tuple[list[Bar], list[str]]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        shelf = Path(scratch) / "shelf"
        tensors = gpt_oss.build(
            shelf / "openai" / "gpt-oss-20b", blocks=_BLOCKS, embedding=True, quick=True
        )
        urls, stop = context.Queue(), context.Event()
        server = context.Process(target=gpt_oss.serve, args=(str(shelf), urls, stop))
        server.start()
        try:
            os.environ["HF_ENDPOINT"] = urls.get(timeout=60)
            built = time.perf_counter() - started
            bars, notes = _through_the_pipeline(torch.device(name), memory_gb)
        finally:
            stop.set()
            server.join(10)
    nbytes = sum(tensor.nbytes for tensor in tensors)
    return bars, [f"- {nbytes / 1e9:.2f} GB, {_BLOCKS} blocks, built in {built:.0f} s", *notes]


def _through_the_pipeline(
    device: torch.device, memory_gb: int | None
) -> tuple[list[Bar], list[str]]:
    from zoo.api import locate
    from zoo.io.store import reading
    from zoo.machine.device import memory_bytes
    from zoo.measure.model import open_model
    from zoo.measure.pipeline import StageTimes, measure_in_batches
    from zoo.spectral.batch_sizes import memory_class

    times = StageTimes()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    opening = time.perf_counter()
    with reading(locate("openai/gpt-oss-20b")) as store, Sampler() as sampler:
        model = open_model(store, LayerSelection())
        started = time.perf_counter()
        reports = list(
            measure_in_batches(
                model.specs,
                model.checkpoint,
                AnalysisOptions(device=device.type),
                device=device,
                memory_gb=memory_gb or memory_class(memory_bytes(device)),
                times=times,
            )
        )
        ended = time.perf_counter()
        read = store.counters.bytes_read
    first = ended if times.first_s is None else times.first_s
    # the last batches may be finished on the processor when the card has nothing left to do
    last = times.last_s or ended
    experts = [b for b in times.batches if b[0] == b[1] == gpt_oss.HIDDEN]
    num_experts = sum(count for _, _, count, _ in experts)
    apart = [b for b in times.batches if max(b[0], b[1]) == gpt_oss.VOCABULARY]
    others = [b for b in times.batches if b not in experts and b not in apart]
    of_others = sum(b[3] for b in others) / _BLOCKS
    of_embedding = sum(b[3] for b in apart)
    # what the whole takes beside the seconds that the batches add up to, per second of these: waiting
    overhead = (ended - first) / max(times.compute_s, 1e-9)
    each = sum(b[3] for b in experts) / max(num_experts, 1)
    minutes = overhead * (_EXPERTS_120B * each + _BLOCKS_120B * of_others + 2 * of_embedding) / 60
    share = sampler.share(first, last)
    busy = 100.0 * times.compute_s / max(last - first, 1e-9)
    bad = [
        r for r in reports if r.columns["status"] == "failed" or r.columns["device"] != device.type
    ]
    notes = [
        f"- {len(reports)} layers in {ended - started:.1f} s, headers {started - opening:.1f} s; "
        f"{len(bad)} failed or not on the card",
        f"- expert matrices: {num_experts}, {1e3 * each:.1f} ms each on the card; from the first batch on "
        f"{overhead:.2f} s a second of computing",
        f"- the rest of a block {1e3 * of_others:.0f} ms, an embedding {1e3 * of_embedding:.0f} ms",
        f"- loading {times.load_s:.1f} s, computing {times.compute_s:.1f} s, starved "
        f"{times.starved_s:.1f} s, finishing on the processor {times.finish_s:.1f} s; {read / 1e9:.2f} GB read",
        f"- busy: {busy:.0f} % of the time by the pipeline's clock, {share or float('nan'):.0f} % by the driver's "
        f"samples ({len(sampler.samples)}); peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB",
        *(
            f"- {rows} × {cols}: {count} in {1e3 * s / count:.1f} ms each"
            for rows, cols, count, s in times.batches
        ),
        *(f"- {r.columns['tensor']}: {r.columns['reason']}" for r in bad[:5]),
    ]
    return [_TIME.at(minutes), _BUSY.at(share if share is not None else busy)], notes


GPT_OSS = Section("gpt_oss", (_TIME, _BUSY), swept, 60)
