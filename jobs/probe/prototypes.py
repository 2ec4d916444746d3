"""The prototypes of a stored model: whether its input is an image, its weights read again, its traps looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from catalog.read.model_page import find_model
from catalog.read.query import ask
from jobs.probe.choose import ProbeUnit, Which, probe_units, target_of
from zoo.errors import UseError, ZooError
from zoo.probes.prototypes import (
    LayerPrototypes,
    Shape,
    chain_of,
    prototypes,
    shape_of_width,
)

_LAYERS = """
select tensor, part, expert, num_rows, num_cols, receptive_field, role from layers_latest
where model_id = $model_id and revision = $revision and status = 'ok' order by layer_index
"""
_MOST_LAYERS = 64
"""A longer chain of matrices is no perceptron that somebody would look at."""


def stored_prototypes(
    con: duckdb.DuckDBPyConnection, model: str, shape: Shape | None
) -> tuple[str, list[LayerPrototypes], str | None]:
    """(title, prototypes by layer, why there are none although the input may be an image).

    Its weights are read again from where they were swept, and must be the same; a repository of the Hub only
    where `shape` asks for it. UseError when `shape` does not fit.
    """
    ref = find_model(con, model)
    name = ref.model_id if ref.step is None else f"{ref.model_id} step {ref.step}"
    rows = ask(con, _LAYERS, {"model_id": ref.model_id, "revision": ref.revision}).to_pylist()
    if shape is None and not _may_see_images(rows):
        return name, [], None
    try:
        unit = _unit(con, ref.model_id, ref.revision)
        if shape is None and not unit.source.startswith("path:"):
            return name, [], f"no prototypes: {unit.source} is not read again without --plot-input"
        target = target_of(unit)
        if target.failure is not None:
            return name, [], f"no prototypes: {target.failure.message}"
        with target.reading() as store:
            from zoo.measure.model import open_model

            opened = open_model(store, unit.selection)
            traps: dict[int, list[int]] = {}
            for layer_index, replicate, trap_index, _ in unit.traps:
                if replicate == 0:
                    traps.setdefault(layer_index, []).append(trap_index)
            shown = prototypes(opened, traps, shuffle_seed=unit.options.seed, shape=shape)
    except UseError:
        raise
    except ZooError as error:
        return name, [], f"no prototypes: {error}"
    if not shown and shape is not None:
        raise UseError(
            f"--plot-input: {name} is neither a chain of plain matrices nor begins with a convolution over an "
            "image; its directions have no picture"
        )
    return name, shown, None


def _may_see_images(rows: Sequence[Mapping[str, object]]) -> bool:
    """True of a perceptron over square pictures, and of a model with convolutions, by its stored rows."""
    if any((row["receptive_field"] or 1) != 1 for row in rows):
        return True
    if not rows or len(rows) > _MOST_LAYERS or any(row["part"] or row["expert"] for row in rows):
        return False
    sizes = {
        str(row["tensor"]): (int(str(row["num_rows"])), int(str(row["num_cols"]))) for row in rows
    }
    names = chain_of([(name, *size) for name, size in sizes.items()])
    return bool(names) and shape_of_width(sizes[names[0]][1]) is not None


def _unit(con: duckdb.DuckDBPyConnection, model_id: str, revision: str) -> ProbeUnit:
    which = Which(ids=frozenset({model_id}), again=True, without_traps=True)
    named = [unit for unit in probe_units(con, which) if unit.keys["revision"] == revision]
    if not named:
        raise UseError(f"{model_id}@{revision[:12]} has no layer that was measured")
    return named[0]
