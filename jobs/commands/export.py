"""`zoo export CATALOG MODEL`"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import ModelName, Place

if TYPE_CHECKING:
    from catalog.read.trainable import Trainable

_ALWAYS = ("embedding", "lm_head")
"""Roles that Spectrum trains in any case."""


def export(
    catalog: Place,
    model: ModelName,
    *,
    spectrum_yaml: bool = False,
    lr_scale: bool = False,
    prune_ratios: bool = False,
    share: float = 0.25,
    lr_range: tuple[float, float] = (0.5, 1.5),
    decay_range: tuple[float, float] = (2 / 3, 5.0),
    sparsity: float = 0.7,
    epsilon: float = 0.3,
    per: str = "block",
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """What a training or pruning program needs to know of each layer, by published rules (docs/science.md).

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    model
        Model id, optionally `id@revision` or `id@stepN`.
    spectrum_yaml
        YAML that names the tensors to train, as axolotl reads it: of every kind those with the largest signal
        over noise (Spectrum).
    lr_scale
        A row a tensor: factors on learning rate (TempBalance) and weight decay (AlphaDecay), the larger
        alpha_hill, the larger both.
    prune_ratios
        A row a tensor: the share of its parameters to remove (AlphaPruning), the larger alpha_hill, the larger.
    share
        Share of every kind of tensors that Spectrum trains.
    lr_range
        Factors on the learning rate for the smallest and the largest alpha_hill.
    decay_range
        The same on the weight decay.
    sparsity
        Share of all parameters to remove.
    epsilon
        Half-width of the range of shares around their mean, before they are scaled to the sparsity.
    per
        block: all tensors of a block are pruned alike, by the mean of their alpha_hill. layer: each by its own.
    format
        How to print rows.
    quiet
        Nothing but rows and errors.
    """
    from catalog.read.trainable import trainable_of
    from catalog.read.views import connect
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from zoo.errors import UseError

    if sum((spectrum_yaml, lr_scale, prune_ratios)) != 1:
        raise UseError("wanted one of --spectrum-yaml, --lr-scale and --prune-ratios")
    if per not in ("block", "layer"):
        raise UseError(f"--per: got {per!r:.40}, wanted block or layer")
    with connect(catalog, only=("models", "models_latest", "layers_latest")) as con:
        name, tensors = trainable_of(con, model)
    if spectrum_yaml:
        print(spectrum_text(name, tensors, share), end="")
        return 0
    fitted = [tensor for tensor in tensors if tensor.alpha_hill is not None]
    if not fitted:
        raise UseError(f"{name}: no layer has an alpha_hill; wanted one that was measured")
    if lr_scale:
        rows = lr_rows(fitted, lr_range, decay_range)
    else:
        in_blocks = [tensor for tensor in fitted if tensor.block is not None]
        rows = prune_rows(in_blocks, sparsity=sparsity, epsilon=epsilon, per_block=per == "block")
        if not rows:
            raise UseError(f"{name}: no layer stands in a block; wanted a model with blocks")
    print_rows(rows, columns=tuple(rows[0]), format=format, shown=shown, quiet=quiet)
    if len(rows) < len(tensors):
        left = len(tensors) - len(rows)
        Progress(quiet=quiet).say(
            f"{left} of {len(tensors)} tensors have no row: no alpha_hill"
            + (", or in no block, where this rule prunes nothing" if prune_ratios else "")
        )
    return 0


def lr_rows(
    tensors: Sequence[Trainable], lr_range: tuple[float, float], decay_range: tuple[float, float]
) -> list[dict[str, object]]:
    """A row a tensor with its two factors."""
    from zoo.spectral.layerwise import linear_scale

    alphas = [float(tensor.alpha_hill or 0.0) for tensor in tensors]
    rates = linear_scale(alphas, low=lr_range[0], high=lr_range[1])
    decays = linear_scale(alphas, low=decay_range[0], high=decay_range[1])
    return [
        {
            "tensor": tensor.tensor, "role": tensor.role, "block": tensor.block,
            "alpha_hill": tensor.alpha_hill, "lr_scale": rate, "weight_decay_scale": decay,
        }
        for tensor, rate, decay in zip(tensors, rates, decays, strict=True)
    ]  # fmt: skip


def prune_rows(
    tensors: Sequence[Trainable], *, sparsity: float, epsilon: float, per_block: bool
) -> list[dict[str, object]]:
    """A row a tensor with the share of it to remove."""
    from zoo.spectral.layerwise import prune_ratios

    alphas = [float(tensor.alpha_hill or 0.0) for tensor in tensors]
    if per_block:
        blocks: dict[int | None, list[float]] = {}
        for tensor, alpha in zip(tensors, alphas, strict=True):
            blocks.setdefault(tensor.block, []).append(alpha)
        alphas = [sum(blocks[t.block]) / len(blocks[t.block]) for t in tensors]
    sizes = [tensor.num_params for tensor in tensors]
    ratios = prune_ratios(alphas, sizes, sparsity=sparsity, epsilon=epsilon)
    return [
        {
            "tensor": tensor.tensor, "role": tensor.role, "block": tensor.block,
            "num_params": tensor.num_params, "alpha_hill": alpha, "prune_ratio": ratio,
        }
        for tensor, alpha, ratio in zip(tensors, alphas, ratios, strict=True)
    ]  # fmt: skip


def spectrum_text(name: str, tensors: Sequence[Trainable], share: float) -> str:
    """The YAML of Spectrum, each tensor as a regular expression that fits it alone.

    UseError where no layer has a signal-to-noise ratio.
    """
    from zoo.errors import UseError
    from zoo.spectral.layerwise import top_share

    rated = [t for t in tensors if t.snr is not None and t.role not in _ALWAYS]
    if not rated:
        raise UseError(
            f"{name}: no layer has a spectrum_snr; `zoo refit` computes it from stored spectra"
        )
    chosen = top_share([float(t.snr or 0.0) for t in rated], [t.kind for t in rated], share=share)
    lines = [
        f"# {_one_line(name)}: {share:.0%} of every kind of tensors, by signal over noise (Spectrum)"
    ]
    lines.append("unfrozen_parameters:")
    lines += [_item(t.tensor) for t in tensors if t.role in _ALWAYS]
    for kind in dict.fromkeys(t.kind for t in rated):
        lines.append(f"# {_one_line(kind)}")
        of_kind = [
            t for t, is_chosen in zip(rated, chosen, strict=True) if is_chosen and t.kind == kind
        ]
        lines += [_item(t.tensor) for t in of_kind]
    return "\n".join(lines) + "\n"


def _item(tensor: str) -> str:
    """An entry; a string of JSON is one of YAML too, whatever is in the name."""
    return f"- {json.dumps(f'^{re.escape(tensor)}$')}"


def _one_line(text: str) -> str:
    from jobs.screen.text import printable

    return printable(text)
