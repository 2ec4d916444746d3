"""`zoo analyze SOURCE`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

COLUMNS = (
    "layer_index", "tensor", "part", "role", "n", "m", "alpha", "ks_distance", "num_tail",
    "num_traps", "erg_log_ratio", "stable_rank", "tail_warning", "status", "reason",
)  # fmt: skip
"""What the terminal table shows; the other formats have every column."""


def analyze(
    source: str,
    *,
    format: Literal["table", "csv", "json", "md", "parquet"] = "table",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    plot: Path | None = None,
    metrics: Literal["all", "tail"] = "all",
    shuffle: Literal["auto", "full", "top", "none"] = "auto",
    seed: int = 0,
    threads: int = 1,
    quiet: bool = False,
) -> int:
    """Measure one model here and print a row per layer.

    Exit codes: 0 done, 1 a layer failed or the model cannot be read, 2 bad use.

    Parameters
    ----------
    source
        Folder, weight file (.safetensors, .bin, .gguf), or Hub id, optionally `id@revision`.
    format
        table shows the main columns; csv, json, md and parquet have all of them.
    out
        File for `--format parquet` (default: layers.parquet).
    plot
        Folder for pictures: spectra with their fits (of at most 64 layers), alpha against depth, the
        (alpha, erg_delta) funnel.
    metrics
        all, or tail: norms and the power-law tail alone, the other columns stay empty; four times faster.
    shuffle
        full: whole shuffled spectrum. top: only what leaves the bulk. auto: full up to m = 2,048. none: no traps.
    seed
        Seed of the shuffles.
    threads
        Mathematics threads.
    quiet
        Say nothing but errors.
    """
    import sys

    from jobs.analysis import analyse_source, check_outputs
    from jobs.output import print_rows
    from jobs.progress import Progress, hear_hub
    from zoo.api import names_hub
    from zoo.errors import UseError
    from zoo.options import AnalysisOptions

    if out is not None and format != "parquet":
        raise UseError(
            "--out: got it without --format parquet; the other formats go to standard output"
        )
    if threads < 1:
        raise UseError(f"--threads: got {threads}; wanted 1 or more")
    if seed < 0:
        raise UseError(f"--seed: got {seed}; wanted 0 or more")
    progress = Progress(quiet=quiet)
    hear_hub(progress)
    check_outputs(out if format == "parquet" else None, plot)  # before minutes of work
    if names_hub(source) and not Path(source).exists():
        progress.say(f"{source}: no such file or folder here; asking the Hub")
    options = AnalysisOptions(metrics=metrics, shuffle=shuffle, seed=seed)
    analysis = analyse_source(source, options=options, threads=threads)
    rows = analysis.layers
    progress.say(analysis.summary())
    if format == "parquet":
        analysis.write_parquet(out or Path("layers.parquet"))
        progress.say(f"wrote {out or 'layers.parquet'}")
    elif format == "table":
        print_rows(rows, columns=COLUMNS, format="table")
    else:
        print_rows(rows, columns=list(rows[0]) if rows else COLUMNS, format=format)
    if plot is not None:
        for path in analysis.write_plots(plot):
            progress.say(f"wrote {path}")
    sys.stdout.flush()
    return 1 if any(row["status"] == "failed" for row in rows) else 0
