"""The page of one model: what its layers say, in tables, charts and small spectra; what failed; where it is from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from catalog.read.verdict import verdict
from jobs.site.gather import DATA_COLUMNS, Model, Row, Spectra
from jobs.site.pen import page
from jobs.site.safe import cell, columnar, data_script, slug, text, without_paths
from jobs.site.spectrum_svg import spectrum_svg
from jobs.site.words import meanings_of

MOST_SPECTRA = 120
"""Spectra on one page; of a model with more layers those that a reader would look for."""
_STEPS = (
    "step", "phase", "train_accuracy", "test_accuracy", "mean_alpha", "mean_abs_erg_log_ratio", "total_traps",
    "num_layers_trapped", "max_trap_excess", "total_active_traps", "l2_norm", "revision",
)  # fmt: skip
"""Columns of a trajectory."""
_SHOWN = (
    "layer_index", "tensor", "part", "expert", "role", "n", "m", "alpha", "alpha_stderr", "num_traps",
    "trap_excess_max", "erg_log_ratio", "tail_warning", "status", "reason",
)  # fmt: skip
"""Columns of layers that are shown first."""
_COMPARED = (
    "total_traps", "mean_traps", "num_layers_trapped", "num_layers_tested", "max_trap_excess", "mean_alpha",
    "mean_abs_alpha_minus_2", "num_over_trained", "num_under_trained", "num_layers_fitted",
    "mean_abs_erg_log_ratio", "mean_alpha_hat", "mean_log_spectral_norm", "mean_stable_rank",
    "num_params", "layers_analysed", "layers_skipped", "layers_failed",
)  # fmt: skip
"""Scores that are set side by side when models are compared."""


def files_of(model_id: str) -> tuple[str, str]:
    """Names of the page and of its data."""
    name = slug(model_id)
    return f"models/{name}.html", f"data/models/{name}.js"


def model_page(model: Model) -> str:
    """The page."""
    scores, about = model.scores, model.about
    return page(
        "model",
        root="../",
        key=slug(scores["model_id"]),
        title=text(scores["model_id"]),
        verdict=verdict(scores),
        tiles=_tiles(scores),
        about=_about(scores, about),
        scores=_clean(scores),
        spectra=(drawn := _spectra(model.layers, model.spectra)),
        num_layers=len(model.layers),
        num_with_spectra=sum(s is not None for s in model.spectra),
        num_drawn=len(drawn),
        has_steps=bool(model.steps),
        evaluations=[_clean(row) for row in model.evaluations],
        unread=[_clean(row) for row in model.unread],
        failed=[_clean(row) for row in model.layers if row["status"] != "ok"],
        failures=[{**_clean(row), "failed_at": when(row["failed_at"])} for row in model.failures],
    )


def model_data(model: Model) -> str:
    """The script with its layers and steps, for its own page and for comparisons."""
    names = list(DATA_COLUMNS)
    for name in ("part", "expert", "block"):  # columns that most models do not need
        if all(row[name] is None for row in model.layers):
            names.remove(name)
    steps = [name for name in _STEPS if any(row.get(name) is not None for row in model.steps)]
    layers = [
        {**row, "reason": row["reason"] and without_paths(row["reason"])} for row in model.layers
    ]
    return data_script(
        f"model:{slug(model.scores['model_id'])}",
        {
            "id": cell(model.scores["model_id"]),
            "scores": {name: cell(model.scores.get(name)) for name in _COMPARED},
            "layers": columnar(layers, names),
            "shown": [name for name in _SHOWN if name in names],
            "meanings": meanings_of(names),
            "steps": columnar(model.steps, steps) if model.steps else None,
        },
    )


def _spectra(layers: Sequence[Row], spectra: Sequence[Spectra | None]) -> list[Any]:
    """Pictures in the order of the layers; where there are too many, of the most conspicuous."""
    from markupsafe import Markup

    places = [i for i, found in enumerate(spectra) if found is not None]
    if len(places) > MOST_SPECTRA:
        places = sorted(
            sorted(places, key=lambda i: _conspicuous(layers[i]), reverse=True)[:MOST_SPECTRA]
        )
    drawn = []
    for i in places:
        found = spectra[i]
        assert found is not None
        picture = spectrum_svg(found.evals, found.rand_evals, layers[i], scale=found.scale)
        if picture:
            drawn.append(Markup(picture))  # every name in it was escaped when it was drawn
    return drawn


def _conspicuous(layer: Mapping[str, Any]) -> tuple[float, float]:
    return (layer["num_traps"] or 0.0, abs((layer["alpha"] or 4.0) - 4.0))


def _tiles(scores: Row) -> list[dict[str, str]]:
    """The numbers a reader wants first, with the number of layers behind each."""

    def tile(name: str, value: object, of: str, note: str) -> dict[str, str]:
        return {"name": name, "value": figure(value), "of": of, "note": note}

    return [
        tile("Traps", scores["total_traps"],
             f"{scores['num_layers_trapped'] or 0} of {scores['num_layers_tested']} layers tested",
             "fewer is better"),
        tile("Largest trap", scores["max_trap_excess"] and 1 + scores["max_trap_excess"],
             "times the noise edge", "1 would be noise"),
        tile("Mean |α − 2|", scores["mean_abs_alpha_minus_2"],
             f"{scores['num_layers_fitted']} layers fitted", "0 is the ideal of HTSR"),
        tile("Mean α", scores["mean_alpha"],
             f"{scores['num_over_trained'] or 0} below 2, {scores['num_under_trained'] or 0} above 6",
             "2 to 6 is usual"),
        tile("Alignment", scores["mean_abs_erg_log_ratio"],
             f"{scores['num_layers_aligned']} layers aligned", "0 is perfect"),
    ]  # fmt: skip


def _about(scores: Row, about: Row) -> list[tuple[str, str]]:
    """Provenance, as pairs; what is not known is left out."""
    keys = {
        "Revision": scores["revision"],
        "Revisions in the catalog": scores["num_revisions"],
        "Training step": scores["step"],
        "Family": scores["family"],
        "Architecture": scores["architecture"],
        "Author": scores["author"],
        "Library": about.get("library"),
        "Task": about.get("pipeline_tag"),
        "Licence": about.get("licence"),
        "Base model": scores["base_model"],
        "Parameters": f"{scores['num_params']:,}" if scores["num_params"] else None,
        "Downloads (30 days)": about.get("downloads"),
        "Likes": about.get("likes"),
        "Last changed": about.get("last_modified"),
        "Layers": f"{scores['layers_analysed']} analysed, {scores['layers_skipped']} skipped, "
        f"{scores['layers_failed']} failed, {scores['num_layers_unscored']} in no mean",
        "Decoders": about.get("decoders"),
        "Bytes read": f"{about['bytes_read']:,}" if about.get("bytes_read") else None,
        "Seconds": figure(about.get("seconds")),
        "Device": about.get("device"),
        "Measured": scores["committed_at"],
        "Analysis key": scores["analysis_key"],
        "Sweep": scores["sweep_id"],
        "Versions": _versions(about.get("versions")),
    }
    return [
        (name, str(cell(without_paths(value) if isinstance(value, str) else value)))
        for name, value in keys.items()
        if value is not None and value != "–"
    ]


def _versions(stored: str | None) -> str | None:
    """`duckdb 2.0.0, numpy 2.4.6` of the JSON in `models`; those of later computations in brackets."""
    try:
        versions = json.loads(stored or "{}")
    except ValueError:
        return stored
    if not isinstance(versions, dict):
        return stored
    inner = [
        f"{name} ({_versions(json.dumps(value))})" if isinstance(value, dict) else f"{name} {value}"
        for name, value in sorted(versions.items(), key=lambda v: isinstance(v[1], dict))
    ]
    return ", ".join(inner) or None


def _clean(row: Row) -> Row:
    """A row for a template: text without control characters or paths of this machine."""
    return {
        name: text(without_paths(value)) if isinstance(value, str) else value
        for name, value in row.items()
    }


def figure(value: object) -> str:
    """A number with four digits; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else text(str(value))


def when(microseconds: int | None) -> str:
    """A time in microseconds since 1970, UTC, to the minute."""
    return f"{datetime.fromtimestamp((microseconds or 0) / 1e6, UTC):%Y-%m-%d %H:%M}"
