"""`python -m jobs.experiments.training mlp|addition --out DIR`: the trainings alone, on any machine with torch.

For a machine without this project's other packages, such as one that lends a GPU: train there with --pack,
carry DIR home, and `zoo experiment NAME --from DIR` sweeps and prints it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from jobs.experiments.training import digits
from jobs.experiments.training.adamw import Settings
from jobs.experiments.training.drive import Order, read_log, train
from jobs.experiments.training.pack import pack
from jobs.experiments.training.perceptrons import Perceptrons
from jobs.experiments.training.perceptrons import Shape as PerceptronShape
from jobs.experiments.training.schedule import Schedule
from jobs.experiments.training.stack import Run, Stack
from jobs.experiments.training.transformers import Shape as TransformerShape
from jobs.experiments.training.transformers import Transformers

LANDMARKS = (100_000, 300_000, 1_000_000)
"""Steps of the runs that travel in part."""


def main() -> int:
    """Parse, train, pack, say how fast."""
    args = _parser().parse_args()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = {"float32": torch.float32, "float64": torch.float64}[args.dtype]
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    runs = tuple(Run(seed, decay) for decay in args.decays for seed in range(args.seeds))
    stack, unit, setup = _stack(args, runs, dtype, device)
    setup |= {
        "what": args.what, "runs": [run.name for run in runs], "dtype": args.dtype, "tf32": args.tf32,
        "device": device.type,
    }  # fmt: skip
    order = Order(
        folder=args.out,
        setup=setup,
        runs=runs,
        schedule=Schedule(args.steps, unit, kept_a_decade=args.kept_a_decade),
        budget_s=args.budget,
        keep_state=not args.no_state,
    )
    began, first, said = time.monotonic(), stack.steps_done, [0.0]

    def say(done: int, end: int, per_step: float) -> None:
        if time.monotonic() - said[0] > 10:
            said[0] = time.monotonic()
            print(
                f"{done:,} of {end:,} steps, {per_step * 1e6:.1f} us a step of all {len(runs)} runs, "
                f"{(end - done) * per_step:.0f} s left",
                flush=True,
            )

    whole = train(stack, order, say=say)
    seconds = time.monotonic() - began
    steps = stack.steps_done - first
    print(
        f"{stack.steps_done:,} steps in {seconds:.1f} s ({seconds / max(steps, 1) * 1e6:.1f} us a step of all "
        f"{len(runs)} runs with measuring and writing), {'all' if whole else 'stopped by the budget'}"
    )
    for row in read_log(args.out)["rows"][-len(runs) :]:
        print({name: round(v, 5) if isinstance(v, float) else v for name, v in row.items()})
    if args.pack:
        names = {run.name for run in runs if run.seed == 0 and run.decay in args.whole_decays}
        pack(args.out, whole_runs=names, landmarks=LANDMARKS, max_files=args.pack)
    return 0


def _stack(
    args: argparse.Namespace, runs: tuple[Run, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Stack, int, dict[str, object]]:
    """(the networks, steps that belong together, what decides the numbers)"""
    if args.what == "mlp":
        if args.data is None:
            sys.exit("--data: wanted an .npz of MNIST (images, labels)")
        shape = PerceptronShape(
            hidden=(args.hidden, args.hidden),
            scale=args.scale,
            batch=args.batch,
            adamw=Settings(args.learning_rate or 5e-4),
        )
        pictures = digits.from_file(args.data, num_train=args.num_train, pooled=args.pooled)
        built: Stack = Perceptrons(
            pictures, runs, shape, dtype=dtype, device=device, update=args.update
        )
        unit = args.num_train // args.batch
        facts: dict[str, object] = {"num_train": args.num_train, "pooled": args.pooled}
    else:
        transformer = TransformerShape(
            p=args.p,
            train_fraction=args.fraction,
            adamw=Settings(args.learning_rate or 1e-3, 0.9, 0.98),
        )
        built = Transformers(runs, transformer, dtype=dtype, device=device, update=args.update)
        return built, 1, {"shape": repr(transformer)}
    return built, unit, {"shape": repr(shape), **facts}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.experiments.training", description=__doc__
    )
    parser.add_argument("what", choices=("mlp", "addition"))
    parser.add_argument("--out", type=Path, required=True, help="folder; the same command resumes")
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--budget", type=float, help="seconds; what there is then is written")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--decays", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--tf32", action="store_true", help="TF32 products of float32")
    parser.add_argument("--update", choices=("auto", "plain", "triton"), default="auto")
    parser.add_argument("--device")
    parser.add_argument("--kept-a-decade", type=int, default=6)
    parser.add_argument("--no-state", action="store_true", help="do not write what resuming needs")
    parser.add_argument(
        "--pack", type=int, default=0, metavar="N", help="checkpoints into N files at most"
    )
    parser.add_argument("--whole-decays", type=float, nargs="+", default=[0.0, 0.01],
                        help="of seed 0 with these decays all checkpoints are packed")  # fmt: skip
    parser.add_argument("--learning-rate", type=float)
    mlp = parser.add_argument_group("mlp")
    mlp.add_argument("--data", type=Path)
    mlp.add_argument("--num-train", type=int, default=1000)
    mlp.add_argument("--batch", type=int, default=200)
    mlp.add_argument("--hidden", type=int, default=200)
    mlp.add_argument("--scale", type=float, default=8.0)
    mlp.add_argument("--pooled", action="store_true", help="14x14 pixels")
    addition = parser.add_argument_group("addition")
    addition.add_argument("--p", type=int, default=113)
    addition.add_argument("--fraction", type=float, default=0.3)
    return parser


if __name__ == "__main__":
    sys.exit(main())
