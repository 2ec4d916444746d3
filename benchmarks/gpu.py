"""The bars of an accelerator, one command: `benchmarks/GPU.md` with a row a bar, met or missed.

    python -m benchmarks.gpu [--budget 240] [--sections experts,gpt_oss] [--out benchmarks/GPU.md]

At most four minutes on the card, warm-up included: the most important sections first, and those that the budget
(seconds) leaves no time for are said to be unmeasured. A section that fails costs no other its rows. Without a CUDA
device every row says unmeasured. Times by stage and a profile of Python stand below the bars.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import gpu_agreement, gpu_rates, gpu_sweep
from benchmarks.gpu_bars import Bar, Section

SECTIONS: tuple[Section, ...] = (
    gpu_rates.EXPERTS,
    gpu_sweep.GPT_OSS,
    gpu_rates.SMALL,
    gpu_rates.BERT,
    gpu_agreement.AGREEMENT,
    gpu_rates.TALL,
    gpu_rates.LARGE,
    gpu_agreement.ALARMS,
    gpu_rates.STAGES,
)
"""In the order in which they are measured."""
_OUT = Path(__file__).parent / "GPU.md"


@dataclass(frozen=True)
class Measured:
    """A section, and what came of it."""

    section: Section
    bars: tuple[Bar, ...]
    notes: tuple[str, ...]
    seconds: float


def facts() -> list[str]:
    """What was measured on."""
    lines = [f"torch {torch.__version__}, Python {platform.python_version()}"]
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        lines.insert(0, f"{card.name}, {card.total_memory / 1e9:.1f} GB, CUDA {torch.version.cuda}")
    lines.append(f"{len(os.sched_getaffinity(0))} processor cores")
    lines.append(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    return lines


def measure(section: Section, left_s: float) -> Measured:
    """The bars of a section; where it fails or may not run, every one with the reason."""
    started = time.perf_counter()
    try:
        if not torch.cuda.is_available():
            raise LookupError("unmeasured: this machine has no CUDA device")
        if left_s < section.needs_s:
            raise LookupError(f"unmeasured: {left_s:.0f} s were left of the budget")
        bars, notes = section.run()
    except LookupError as error:
        bars, notes = [bar.failed(str(error)) for bar in section.bars], []
    except Exception as error:  # one section's mistake must not cost the others their minutes
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, flush=True)
        reason = (
            f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
        bars, notes = [bar.failed(reason) for bar in section.bars], [f"```\n{trace}```"]
    return Measured(section, tuple(bars), tuple(notes), time.perf_counter() - started)


def page(results: Iterable[Measured], seconds: float) -> str:
    """The whole file."""
    lines = ["# The bars of an accelerator", "", *(f"- {line}" for line in facts())]
    lines += [f"- {seconds:.0f} s in all; `python -m benchmarks.gpu`", ""]
    lines += ["| bar | wanted | measured | |", "| --- | --- | --- | --- |"]
    lines += [bar.row for result in results for bar in result.bars]
    for result in results:
        lines += ["", f"## {result.section.name} ({result.seconds:.1f} s)", "", *result.notes]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, write."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=240.0, help="seconds")
    parser.add_argument("--sections", default=",".join(section.name for section in SECTIONS))
    parser.add_argument("--out", type=Path, default=_OUT)
    arguments = parser.parse_args()
    names = arguments.sections.split(",")
    results: list[Measured] = []
    wake: Callable[[], float] = gpu_rates.warm_up
    if torch.cuda.is_available():
        print(f"warm-up: {wake():.1f} s", flush=True)
    for section in (s for s in SECTIONS if s.name in names):
        left_s = arguments.budget - (time.perf_counter() - started)
        results.append(measure(section, left_s))
        print(f"## {section.name} ({results[-1].seconds:.1f} s)", flush=True)
        print("\n".join(bar.row for bar in results[-1].bars), flush=True)
        print("\n".join(results[-1].notes), flush=True)
        arguments.out.write_text(page(results, time.perf_counter() - started))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
