"""Commits whole units again, with other numbers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import duckdb

from catalog.read.stored_units import StoredRows, UnitFiles, rows_of
from catalog.schema import UNIT_TABLES
from catalog.write import commits
from jobs.refit.columns import LayerChange, trap_rows
from jobs.units.versions import versions
from zoo.version import UNKNOWN

_CHUNK_LAYERS = 512
"""Units are read in chunks of at least so many layers, whole: a query a unit would cost more."""

Edit = Callable[[dict[str, StoredRows]], None]
"""Changes the rows of a unit, by table, in place."""


class StoredUnit(Protocol):
    """A unit of the catalog that is to be written again."""

    @property
    def keys(self) -> Mapping[str, str]:
        """sweep_id, model_id, revision, analysis_key."""

    @property
    def generation(self) -> str:
        """Folder of its files within each table."""

    @property
    def num_layers(self) -> int:
        """Layers that have a spectrum."""

    @property
    def spec(self) -> str | None:
        """The spec that its numbers follow."""

    @property
    def new_columns(self) -> Mapping[str, object]:
        """Columns of `models` that change, the analysis key perhaps among them."""

    @property
    def is_new(self) -> bool:
        """True when the result is another unit."""


class Pen:
    """Commits units again, with other rows; one row in `sweeps` for every spec they follow."""

    def __init__(
        self, root: str, con: duckdb.DuckDBPyConnection, files: UnitFiles, *, name: str
    ) -> None:
        """`name`: of its sweeps in the table `sweeps`, and of its versions in `models`."""
        self._root = root
        self._name = name
        self._con = con
        self._files = files
        self._started = datetime.now(UTC)
        self._sweeps: dict[str | None, str] = {}
        self._counts: dict[str | None, int] = {}

    def commit(self, units: Sequence[tuple[StoredUnit, Edit]]) -> None:
        """Write units of one generation as their edits leave them."""
        chunk: list[tuple[StoredUnit, Edit]] = []
        for unit, edit in units:
            chunk.append((unit, edit))
            if sum(u.num_layers for u, _ in chunk) >= _CHUNK_LAYERS:
                self._commit(chunk)
                chunk = []
        if chunk:
            self._commit(chunk)

    def _commit(self, units: Sequence[tuple[StoredUnit, Edit]]) -> None:
        stored = {
            table: rows_of(self._con, self._files, table, [unit for unit, _ in units])
            for table in ("models", *UNIT_TABLES)
        }
        for number, (unit, edit) in enumerate(units):
            (model,) = stored["models"][number]
            self._write(unit, edit, model, {t: stored[t][number] for t in UNIT_TABLES})

    def _write(
        self,
        unit: StoredUnit,
        edit: Edit,
        model: dict[str, Any],
        rows: dict[str, StoredRows],
    ) -> None:
        sweep_id = self._sweep_id(unit.spec)
        new_key = unit.new_columns.get("analysis_key", unit.keys["analysis_key"])
        keys = {**unit.keys, "sweep_id": sweep_id, "analysis_key": new_key}
        edit(rows)
        for row in (row for table in rows.values() for row in table):
            row.update(keys)
        commits.commit_unit(
            self._root,
            model={
                **model,
                **keys,
                # what measuring cost stays known; `measured_at` says that it was paid once
                **({"measured_at": _measured_at(model)} if unit.is_new else {}),
                "versions": _versions(model["versions"], self._name),
                **unit.new_columns,
                "decoders": _decoders(model, rows),
                # in its place, a unit of older options must not come before the newest ones
                "committed_at": datetime.now(UTC) if unit.is_new else model["committed_at"],
            },
            layers=rows["layers"],
            traps=rows["traps"],
            evaluations=rows["evaluations"],
            spectra=rows["spectra"],
            tensors=rows["tensors"],
        )
        self._counts[unit.spec] += 1

    def close(self, status: str) -> None:
        """Say in `sweeps` how it ended: `done` or `interrupted`."""
        for spec in self._sweeps:
            self._write_sweep(
                spec,
                status=status,
                num_listed=self._counts[spec],
                num_done=self._counts[spec],
                num_skipped=0,
                num_failed=0,
                ended_at=datetime.now(UTC),
                exit_code=0 if status == "done" else 75,
            )

    def _sweep_id(self, spec: str | None) -> str:
        if spec not in self._sweeps:
            self._sweeps[spec] = f"{self._started:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
            self._counts[spec] = 0
            self._write_sweep(spec, status="running")
        return self._sweeps[spec]

    def _write_sweep(self, spec: str | None, **columns: object) -> None:
        row = {
            "sweep_id": self._sweeps[spec],
            "name": self._name,
            "spec": spec,
            "versions": versions(),
        }
        commits.record_sweep(self._root, {**row, "started_at": self._started, **columns})


def _measured_at(model: Mapping[str, Any]) -> str:
    """Where the weights were read that a row of `models` stands on."""
    return model.get("measured_at") or f"{model['model_id']}@{model['revision']}"


def refitted(changes: Mapping[int, LayerChange]) -> Edit:
    """Puts the numbers of `changes`, by layer_index, in the place of the stored ones."""

    def edit(rows: dict[str, StoredRows]) -> None:
        for row in rows["layers"]:
            change = changes.get(row["layer_index"])
            if change is not None:
                row.update(change.columns)
        rows["traps"] = _traps(rows["traps"], rows["layers"], changes)

    return edit


def _traps(rows: StoredRows, layers: StoredRows, changes: Mapping[int, LayerChange]) -> StoredRows:
    """Rows of `traps` after the change: another level gives other traps, or none are known."""
    retested = {index: change for index, change in changes.items() if change.is_retested}
    kept = [row for row in rows if row["layer_index"] not in retested]
    for layer in layers:
        change = retested.get(layer["layer_index"])
        if change is not None and change.test is not None:
            stored = [row for row in rows if row["layer_index"] == layer["layer_index"]]
            names = {name: layer[name] for name in ("layer_index", "tensor", "part", "expert")}
            new = trap_rows(stored, change.test, change.trap_exponent)
            kept += [{**names, **row} for row in new]
    return kept


def _decoders(model: Mapping[str, Any], rows: Mapping[str, StoredRows]) -> str:
    """The column `decoders`, of an older row from its layers and tensors."""
    stored = model.get("decoders")
    if isinstance(stored, str):
        return stored
    names = {row["decoder"] for row in rows["layers"] if row["decoder"] is not None}
    refused = {UNKNOWN for row in rows["tensors"] if row["fate"] == "unknown"}
    return ", ".join(sorted(names | refused))


def _versions(stored: str | None, name: str) -> str:
    """Versions that measured the weights, and beside them those that computed the rest anew."""
    try:
        before = json.loads(stored or "{}")
    except ValueError:
        before = {}
    before.pop("base_revision", None)  # version 0.1.0 kept it there; it has a column now
    return json.dumps({**before, name: json.loads(versions())}, sort_keys=True)
