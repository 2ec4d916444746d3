"""A model of a catalog as its pictures see it: its layers with their stored spectra. No weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from catalog.read.model_page import find_model
from catalog.read.query import ask
from zoo.spectral.spectrum import Spectrum

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

VIEWS = ("models", "models_latest", "layers_latest", "delta_layers", "spectra")
"""What a portrait is read from."""
_QUERY = """
select l.*, s.eigenvalues, s.scale_exponent, s.rand_eigenvalues, s.rand_scale_exponent
from {layers} as l left join spectra as s
    using (sweep_id, model_id, revision, analysis_key, layer_index)
where l.model_id = $model_id and l.revision = $revision
order by l.layer_index
"""


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A `zoo.pictures.album.Measured` from a catalog."""

    columns: Mapping[str, object]
    spectrum: Spectrum | None
    """None for a layer that was not measured."""
    rand_spectrum: Spectrum | None
    """None when no shuffle was computed whole."""


def stored_layers(
    con: duckdb.DuckDBPyConnection, model: str, *, deltas: bool = False
) -> tuple[str, list[StoredLayer]]:
    """(title, layers in their order) of a model that `find_model` finds, by its newest analysis.

    With `deltas` the layers of W − W_base.
    """
    ref = find_model(con, model)
    name = ref.model_id if ref.step is None else f"{ref.model_id} step {ref.step}"
    query = _QUERY.format(layers="delta_layers" if deltas else "layers_latest")
    if deltas:
        name = f"{name} − base"
    table = ask(con, query, {"model_id": ref.model_id, "revision": ref.revision})
    own, rand = table.column("eigenvalues"), table.column("rand_eigenvalues")
    rows = table.drop_columns(["eigenvalues", "rand_eigenvalues"]).to_pylist()
    layers = [
        StoredLayer(
            row,
            _spectrum(own[i], row.pop("scale_exponent")),
            _spectrum(rand[i], row.pop("rand_scale_exponent")),
        )
        for i, row in enumerate(rows)
    ]
    return name, layers


def stored_steps(con: duckdb.DuckDBPyConnection, model: str) -> tuple[str, list[dict[str, object]]]:
    """(model id, its rows of `trajectories`) of a model that `find_model` finds; no rows without steps."""
    model_id = find_model(con, model).model_id
    query = "from trajectories where model_id = $model_id order by step"
    return model_id, ask(con, query, {"model_id": model_id}).to_pylist()


def _spectrum(cell: pa.ListScalar, exponent: int | None) -> Spectrum | None:
    if not cell.is_valid or exponent is None:
        return None
    values = np.asarray(cell.values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return Spectrum(values, exponent)
