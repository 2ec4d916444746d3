"""What the pages are made of, read from a catalog: its units, and their layers with spectra, many models at a time.

A page is of the newest revision of a model, by the analysis that `model_scores` takes. The fingerprint of a model
is a hash of every row its page shows, so that an unchanged page is not made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from catalog.files.duck import put
from catalog.read.model_page import LAYER_COLUMNS
from catalog.read.query import ask, ask_rows

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


Vector = npt.NDArray[np.float64]
"""Eigenvalues, ascending."""
Row = dict[str, Any]
"""A row by column name."""

BATCH_LAYERS = 6000
"""Layers that are read at a time: their spectra take some hundred MB at most."""
DATA_COLUMNS = tuple(
    dict.fromkeys((*LAYER_COLUMNS, "alpha_low", "alpha_high", "erg_delta", "num_evals"))
)
"""Columns of `layers` that a model's page has."""
DRAWN_COLUMNS = ("xmin", "xmax", "rand_mp_edge_upper", "rand_lambda_max")
"""Columns that its pictures need besides."""
_KEYS = ("sweep_id", "model_id", "revision", "analysis_key")
_UNITS = "from model_scores where is_final order by model_id"
_HASHED = ("layers", "traps", "evaluations", "tensors", "models")
"""Tables whose rows a page shows."""


@dataclass(frozen=True, slots=True)
class Spectra:
    """The stored eigenvalues of one layer."""

    evals: Vector
    scale: float
    """What they are multiplied with to be λ."""
    rand_evals: Vector | None
    """Of the shuffled matrix, in units of its own."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its page shows it."""

    scores: Row
    """Its row of `model_scores`."""
    about: Row
    """Its row of `models`."""
    layers: Sequence[Row]
    """DATA_COLUMNS and DRAWN_COLUMNS of every layer, in order."""
    spectra: Sequence[Spectra | None]
    """Of every layer."""
    steps: Sequence[Row]
    """Its rows of `trajectories`; none or several."""
    evaluations: Sequence[Row]
    """What its card claims."""
    unread: Sequence[Row]
    """Tensors that were skipped, counted by reason, and files left out: fate, reason, num, example."""
    failures: Sequence[Row]
    """Open failures of this model: revision, cause, message, attempts, failed_at."""


def units(con: duckdb.DuckDBPyConnection) -> list[Row]:
    """The row of `model_scores` of every model's newest revision, by model id."""
    return ask_rows(con, _UNITS).to_pylist()


def fingerprints(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """A hash of all rows that the page of a model shows, by model id."""
    con.execute(
        "create or replace temp table site_all as select sweep_id, model_id, revision, analysis_key "
        "from current where is_final"
    )
    queries = {
        name: f"""select model_id, bit_xor(hash(t))::varchar from (
            from {name} semi join site_all using (sweep_id, model_id, revision, analysis_key)) as t
            group by model_id"""
        for name in _HASHED
    }
    queries["trajectories"] = (
        "select model_id, bit_xor(hash(t))::varchar from trajectories as t group by model_id"
    )
    queries["failures"] = (
        "select model_id, bit_xor(hash(t))::varchar from failures_open as t group by model_id"
    )
    marks: dict[str, list[str]] = {}
    for name, query in queries.items():
        for model_id, mark in ask_rows(con, query).rows:
            marks.setdefault(model_id, []).append(f"{name} {mark}")
    return {
        model_id: hashlib.blake2b("\n".join(found).encode(), digest_size=12).hexdigest()
        for model_id, found in marks.items()
    }


def models(
    con: duckdb.DuckDBPyConnection, chosen: Sequence[Row], *, batch_layers: int = BATCH_LAYERS
) -> Iterator[Model]:
    """The models of these rows of `units`, in their order."""
    for batch in _batches(chosen, batch_layers):
        yield from _read(con, batch)


def _batches(chosen: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """Runs of units of about as many layers; a larger one is a run of its own."""
    batch: list[Row] = []
    size = 0
    for row in chosen:
        if batch and size + row["layers_analysed"] > most:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row["layers_analysed"]
    if batch:
        yield batch


def _read(con: duckdb.DuckDBPyConnection, batch: Sequence[Row]) -> Iterator[Model]:
    put(con, "site_units", {key: [row[key] for row in batch] for key in _KEYS})
    layers = _layers(con)
    about = _by_model(
        con, "from models semi join site_units using (sweep_id, model_id, revision, analysis_key)"
    )
    steps = _by_model(
        con,
        "from trajectories where model_id in (select model_id from site_units) order by model_id, step",
    )
    evaluations = _by_model(
        con,
        "select model_id, task, dataset, metric, value, reason from evaluations "
        "semi join site_units using (sweep_id, model_id, revision, analysis_key) order by all",
    )
    unread = _by_model(
        con,
        "select model_id, fate, reason, count(*) as num, min(tensor) as example from tensors "
        "semi join site_units using (sweep_id, model_id, revision, analysis_key) "
        "where fate not in ('analysed', 'companion') group by all order by all",
    )
    failures = _by_model(
        con,
        "select model_id, revision, cause, message, attempts, epoch_us(failed_at) as failed_at "
        "from failures_open where model_id in (select model_id from site_units) order by all",
    )
    for row in batch:
        name = row["model_id"]
        rows, spectra = layers.get(name, ([], []))
        run = steps.get(name, [])
        yield Model(
            row, (about.get(name) or [{}])[0], rows, spectra, run if len(run) > 1 else [],
            evaluations.get(name, []), unread.get(name, []), failures.get(name, []),
        )  # fmt: skip


def _by_model(con: duckdb.DuckDBPyConnection, query: str) -> Mapping[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in ask_rows(con, query).to_pylist():
        grouped.setdefault(row["model_id"], []).append(row)
    return grouped


def _layers(
    con: duckdb.DuckDBPyConnection,
) -> dict[str, tuple[list[Row], list[Spectra | None]]]:
    """(rows, spectra) of the units in site_units by model id."""
    names = (*DATA_COLUMNS, *DRAWN_COLUMNS)
    table = ask(
        con,
        f"""
        select l.model_id, {", ".join(f"l.{name}" for name in names)},
            s.eigenvalues, s.scale_exponent, s.rand_eigenvalues
        from (from layers semi join site_units using (sweep_id, model_id, revision, analysis_key)
            where delta_base is null) as l
        left join spectra as s using (sweep_id, model_id, revision, analysis_key, layer_index)
        order by l.model_id, l.layer_index
        """,
    )
    columns = {name: table.column(name).to_pylist() for name in names}
    own, rand = _lists(table.column("eigenvalues")), _lists(table.column("rand_eigenvalues"))
    exponents = table.column("scale_exponent").to_pylist()
    ids = table.column("model_id").to_pylist()
    result: dict[str, tuple[list[Row], list[Spectra | None]]] = {}
    for model_id, group in groupby(range(len(ids)), key=ids.__getitem__):
        places = list(group)
        rows = [{name: columns[name][i] for name in names} for i in places]
        spectra = [_spectra(own[i], exponents[i], rand[i]) for i in places]
        result[model_id] = (rows, spectra)
    return result


def _lists(column: pa.ChunkedArray) -> list[Vector | None]:
    """The lists of a column as arrays; no number becomes a Python object on the way."""
    vectors: list[Vector | None] = []
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        flat = chunk.values.to_numpy(zero_copy_only=False)
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        vectors += [
            flat[start:end].astype(np.float64) if ok else None
            for start, end, ok in zip(offsets[:-1], offsets[1:], valid, strict=True)
        ]
    return vectors


def _spectra(own: Vector | None, exponent: int | None, rand: Vector | None) -> Spectra | None:
    if own is None or exponent is None or not own.size:
        return None
    with np.errstate(over="ignore", under="ignore"):
        scale = float(np.ldexp(1.0, exponent))
    return Spectra(own, scale, rand)
