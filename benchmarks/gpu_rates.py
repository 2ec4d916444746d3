"""Milliseconds a matrix, everything: batches of equal matrices through `measure_layers`, as a sweep measures them.

Beside them the batched solver alone, an encoder whole, and where the time goes.
"""

from __future__ import annotations

import cProfile
import importlib
import io
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType

import torch

from benchmarks.gpu_bars import Bar, Section
from zoo.io.memory import memory_checkpoint
from zoo.measure.batch import measure_layers
from zoo.measure.model import measure, model_of
from zoo.options import AnalysisOptions, LayerSelection

OPTIONS = AnalysisOptions(device="cuda")
_TRAPPED = 8
"""One matrix in so many has a trap planted."""


def matrices(count: int, rows: int, cols: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Noise on the card, seeded, with a large entry in one of `_TRAPPED`."""
    draw = torch.Generator("cuda").manual_seed(rows * 31 + cols)
    stack = torch.empty(count, rows, cols, dtype=dtype, device="cuda")
    for number, matrix in enumerate(stack):
        noise = torch.randn(rows, cols, generator=draw, device="cuda") * 0.02
        if number % _TRAPPED == 0:
            noise[7 % rows, 5 % cols] = 0.02 * 2.5 * max(rows, cols) ** 0.5
        matrix.copy_(noise)
    return stack


def whole(stack: torch.Tensor, name: str = "bench") -> int:
    """Every column of every matrix; the number of traps."""
    keys = [(name, "", str(number), "shape") for number in range(len(stack))]
    found = list(measure_layers(stack, options=OPTIONS, seed_keys=keys, storage_bits=32))
    assert all(measures.columns["status"] == "ok" for measures in found)
    return sum(len(measures.traps) for measures in found)


def seconds(work: Callable[[], object], *, warm: bool = True) -> float:
    """Wall seconds, after one run that is not counted."""
    if warm:
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def warm_up() -> float:
    """Contexts, kernels and helper processes; seconds."""
    return seconds(lambda: whole(matrices(16, 300, 200)), warm=False)


def solver_alone(stack: torch.Tensor) -> tuple[float, str]:
    """Seconds of Gram matrices' eigenvalues in one batch, and which solver it was."""
    from zoo.spectral.batched_solve import symmetric_eigenvalues_of

    grams = torch.stack([m.double().T @ m.double() for m in stack])
    told: list[str] = []

    def solve() -> None:
        _, solver = symmetric_eigenvalues_of(grams.clone())
        told.append(str(solver))

    return seconds(solve), told[0]


EXPERT = Bar("2,880 square, bf16, 64 of them, a trap in one of eight", 45, "ms a matrix")
AGAINST = Bar("the same against the batched solver alone", 1.8, "times")


def _experts() -> tuple[list[Bar], list[str]]:
    stack = matrices(64, 2880, 2880)
    whole(stack[:16])
    torch.cuda.reset_peak_memory_stats()
    spent = seconds(lambda: whole(stack), warm=False)
    peak = torch.cuda.max_memory_allocated() / 1e9
    traps = whole(stack[:8])
    alone, solver = solver_alone(stack)
    each, each_alone = 1e3 * spent / len(stack), 1e3 * alone / len(stack)
    notes = [
        f"- {each:.1f} ms a matrix; solver alone ({solver}) {each_alone:.1f} ms; {traps} traps in the first eight; "
        f"peak {peak:.1f} GB"
    ]
    return [EXPERT.at(each), AGAINST.at(each / each_alone)], notes


def _rates(cases: tuple[tuple[Bar, int, int, int], ...]) -> tuple[list[Bar], list[str]]:
    """Each with its count, rows and columns."""
    bars = []
    for bar, count, rows, cols in cases:
        stack = matrices(count, rows, cols)
        bars.append(bar.at(1e3 * seconds(lambda s=stack: whole(s)) / count))
        del stack
        torch.cuda.empty_cache()
    return bars, []


_SMALL = (
    (Bar("384 square, 256 of them", 1.5, "ms a matrix"), 256, 384, 384),
    (Bar("768 square, 256 of them", 4, "ms a matrix"), 256, 768, 768),
    (Bar("1,024 square, 128 of them", 6, "ms a matrix"), 128, 1024, 1024),
)
_TALL = ((Bar("5,760 × 2,880, bf16, 32 of them", 55, "ms a matrix"), 32, 5760, 2880),)
_LARGE = ((Bar("4,096 square, 16 of them", 130, "ms a matrix"), 16, 4096, 4096),)
_BERT = Bar("a BERT (all-MiniLM-L6: 40 layers) whole", 0.15, "s")


def encoder() -> dict[str, torch.Tensor]:
    """The matrices of all-MiniLM-L6-v2, true to shape, of noise."""
    draw = torch.Generator().manual_seed(6)
    shapes = {
        "embeddings.word_embeddings.weight": (30522, 384),
        "embeddings.position_embeddings.weight": (512, 384),
        "embeddings.token_type_embeddings.weight": (2, 384),
        "pooler.dense.weight": (384, 384),
    }
    for block in range(6):
        stem = f"encoder.layer.{block}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{stem}.attention.{part}.weight"] = (384, 384)
        shapes[f"{stem}.intermediate.dense.weight"] = (1536, 384)
        shapes[f"{stem}.output.dense.weight"] = (384, 1536)
    return {name: torch.randn(*shape, generator=draw) * 0.05 for name, shape in shapes.items()}


def _bert() -> tuple[list[Bar], list[str]]:
    model = model_of(
        memory_checkpoint(encoder(), {"model_type": "bert"}), LayerSelection(), revision="0"
    )
    told: list[int] = []
    spent = seconds(lambda: told.append(len(list(measure(model, OPTIONS)))))
    return [_BERT.at(spent)], [f"- {told[0]} layers"]


@contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """Seconds by function of the batched mathematics, each waited for; nested calls are not counted twice."""
    spent: dict[str, float] = defaultdict(float)
    inner: list[float] = []
    put_back: list[tuple[object, str, FunctionType]] = []

    def watched(name: str, function: FunctionType) -> Callable[..., object]:
        @wraps(function)
        def timed(*args: object, **named: object) -> object:
            torch.cuda.synchronize()
            started = time.perf_counter()
            inner.append(0.0)
            try:
                return function(*args, **named)
            finally:
                torch.cuda.synchronize()
                total = time.perf_counter() - started
                spent[name] += total - inner.pop()
                if inner:
                    inner[-1] += total

        return timed

    for name in ("zoo.measure.batch", "zoo.measure.device_batch", "zoo.measure.device_shuffles"):
        module = importlib.import_module(name)
        for key, function in list(vars(module).items()):
            is_heavy = isinstance(function, FunctionType) and function.__module__.startswith(
                ("zoo.spectral.batched", "zoo.spectral.philox", "zoo.measure.batch")
            )
            if is_heavy and key not in ("measure_layers", "measure_on"):
                put_back.append((module, key, function))
                setattr(module, key, watched(f"{function.__module__}.{key}", function))
    try:
        yield spent
    finally:
        for module, key, function in put_back:
            setattr(module, key, function)


def _stages() -> tuple[list[Bar], list[str]]:
    notes = []
    for count, side in ((64, 2880), (256, 384)):
        stack = matrices(count, side, side)
        with stopwatches() as spent:
            total = seconds(lambda s=stack: whole(s), warm=False)
        rest = total - sum(spent.values())
        rows = sorted(spent.items(), key=lambda item: -item[1])
        notes += [f"{count} of {side} square, ms a matrix by stage (each waited for):", ""]
        notes += [f"- {1e3 * taken / count:8.3f}  `{name}`" for name, taken in rows]
        notes += [f"- {1e3 * rest / count:8.3f}  all else", ""]
        profile = cProfile.Profile()
        profile.runcall(whole, stack)
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(14)
        notes += ["```", *text.getvalue().splitlines()[6:28], "```", ""]
        del stack
        torch.cuda.empty_cache()
    return [], notes


EXPERTS = Section("experts", (EXPERT, AGAINST), _experts, 20)
SMALL = Section("small", tuple(case[0] for case in _SMALL), lambda: _rates(_SMALL), 15)
TALL = Section("tall", tuple(case[0] for case in _TALL), lambda: _rates(_TALL), 12)
LARGE = Section("large", tuple(case[0] for case in _LARGE), lambda: _rates(_LARGE), 12)
BERT = Section("bert", (_BERT,), _bert, 5)
STAGES = Section("stages", (), _stages, 15)
