"""`zoo show CATALOG MODEL`"""

from __future__ import annotations

from pathlib import Path

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import ModelName, Place

FIRST = (
    "tensor", "part", "expert", "alpha", "num_traps", "erg_log_ratio", "status", "tail_warning", "reason",
    "role", "n", "m", "alpha_stderr", "stable_rank", "trap_excess_max", "num_tail", "layer_index",
)  # fmt: skip
"""What a terminal has room for first."""
DELTA_FIRST = (
    "tensor", "part", "expert", "delta_relative", "delta_noise_share", "delta_num_above_noise", "alpha",
    "num_traps", "status", "reason", "delta_base",
)  # fmt: skip
"""The same of layers of W - W_base."""


def show(
    catalog: Place,
    model: ModelName,
    *,
    deltas: bool = False,
    plot: Path | None = None,
    plot_layers: list[str] | None = None,
    plot_input: str | None = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """One model's layers, newest analysis; on standard error, the files of it that were not read.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    model
        Model id, optionally `id@revision` (a prefix will do) or `id@stepN`.
    deltas
        The layers of W - W_base in their place: what training changed against the base model.
    plot
        Folder for pictures, drawn from the stored spectra: all layers in one, alpha against depth, the (alpha,
        erg_delta) funnel; of a run its trajectory; of a perceptron or convolution over images its prototypes, for
        which its weights are read again.
    plot_layers
        Also a picture of each layer whose tensor fits this glob ("*": all), or of that layer_index; may be repeated.
    plot_input
        Shape of the input for the prototypes: 28x28 or 3x32x32. Without it a perceptron's input is taken for a
        square of grey or coloured pixels if its number of features is one.
    format
        How to print. `--columns` may name any column of `layers`; without it the main ones are printed.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.model_page import (
        DELTA_COLUMNS,
        LAYER_COLUMNS,
        VIEWS,
        base_of,
        layer_columns,
        layers_of,
        left_out_of,
        skipped_of,
    )
    from catalog.read.views import connect
    from jobs.commands.analyze import check_outputs
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from zoo.errors import UseError
    from zoo.io.left_out import LeftOut, in_one_line, set_aside_in_one_line

    progress = Progress(quiet=quiet)
    if plot_input is not None and (plot is None or deltas):
        raise UseError("--plot-input: wanted it with --plot, and without --deltas")
    if plot_layers and plot is None:
        raise UseError("--plot-layers: got it without --plot; wanted a folder for the pictures")
    check_outputs(None, plot)
    with connect(catalog, only=VIEWS) as con:
        every = layer_columns(con)
        shown.check_sort(every)
        picked = shown.pick(DELTA_COLUMNS if deltas else LAYER_COLUMNS, every)
        asked = list(dict.fromkeys((*picked, *shown.sort_columns)))
        rows = layers_of(con, model, asked, deltas=deltas).to_pylist()
        first = DELTA_FIRST if deltas else FIRST
        print_rows(rows, columns=picked, format=format, quiet=quiet, shown=shown, first=first)
        base = base_of(con, model)
        left_out = [LeftOut(*row) for row in left_out_of(con, model)]
        twins = set_aside_in_one_line(skipped_of(con, model))
    minus = None
    if base is not None:
        count, base_id, revision = base
        hint = "" if deltas else "; see them with --deltas"
        minus = f"{count} layers minus those of the base {base_id}@{revision[:12]}{hint}"
    elif deltas:
        minus = "no layers of W - W_base: sweep it with `[layers] deltas = true`"
    for told in filter(None, [in_one_line(left_out), twins, minus]):
        progress.say(told)
    if plot is not None:
        paths, why = _pictures(catalog, model, plot, plot_layers or [], plot_input, deltas=deltas)
        for told in (*(f"wrote {path}" for path in paths), *filter(None, [why])):
            progress.say(told)
    return 0


def _pictures(
    catalog: str,
    model: str,
    folder: Path,
    layers: list[str],
    input_shape: str | None,
    *,
    deltas: bool,
) -> tuple[list[Path], str | None]:
    """Draw the pictures of a model, or of what training changed: (files, why one is missing)."""
    from catalog.read.views import connect
    from jobs.portraits import stored_layers, stored_steps
    from zoo.pictures.album import album, of_prototypes, over_steps
    from zoo.pictures.press import print_pictures

    why = None
    with connect(catalog) as con:
        name, stored = stored_layers(con, model, deltas=deltas)
        pictures = album(name, stored, layers)
        if not deltas:
            from jobs.probe.prototypes import stored_prototypes
            from zoo.probes.prototypes import parse_shape

            shape = None if input_shape is None else parse_shape(input_shape)
            title, shown, why = stored_prototypes(con, model, shape)
            lines = [(of.tensor, [(p.caption, p.image) for p in of.prototypes]) for of in shown]
            pictures += of_prototypes(title, lines)
            pictures += over_steps(*stored_steps(con, model))
    return list(print_pictures(pictures, folder).values()), why
