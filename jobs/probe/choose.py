"""Which units of a catalog are probed, and with which traps: read from the tables alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import duckdb

from catalog.read.query import ask
from catalog.schema.keys import COMMIT
from jobs.probe.endpoint import endpoint_of
from jobs.refit.plan import settings_of
from jobs.sources.registry import kind_named
from jobs.sources.target import Failure, Origin, Target, failure_of
from zoo.errors import StaleListingError, UseError, ZooError
from zoo.hub.location import HubLocation
from zoo.io.addresses import is_url
from zoo.options import AnalysisOptions, LayerSelection

_UNITS = """
select m.sweep_id, m.model_id, m.revision, m.analysis_key, m.generation, m.layers_analysed, m.source,
    m.step, m.family, m.num_params, m.base_revision, m.diagnostics_data, s.spec
from internal.shown_models as m
left join sweeps as s using (sweep_id)
semi join models_latest as l on (m.model_id, m.revision, m.analysis_key)
    = (l.model_id, l.revision, l.analysis_key)
where m.layers_analysed > 0
order by m.model_id, m.step nulls first, m.revision
"""
_TRAPS = f"""
select {", ".join(COMMIT)}, layer_index, replicate, trap_index, eigenvalue, verdict, probe_reason
from traps where delta_base is null order by {", ".join(COMMIT)}, layer_index, replicate, trap_index
"""

TrapPlace = tuple[int, int, int, float]
"""layer_index, replicate, trap_index, eigenvalue."""


@dataclass(frozen=True, slots=True)
class Which:
    """What the user wants probed."""

    models: tuple[str, ...] = ()
    """Globs on model ids, or on their last piece; none: every model."""
    family: str | None = None
    top: int | None = None
    """Only the so many with most traps a layer, as the traps leaderboard sorts them."""
    again: bool = False
    """Also traps that have been probed before."""
    ids: frozenset[str] | None = None
    """Only models of these ids; None: any."""
    without_traps: bool = False
    """Also models that have no trap: for the diagnostics."""

    def takes(self, model_id: str, family: str | None) -> bool:
        """True when a model is meant, the leaderboard aside."""
        names = (model_id, model_id.rpartition("/")[2])
        is_named = not self.models or any(
            fnmatchcase(name, glob) for name in names for glob in self.models
        )
        is_listed = self.ids is None or model_id in self.ids
        return is_named and is_listed and (self.family is None or self.family == family)


@dataclass(frozen=True, slots=True)
class ProbeUnit:
    """One unit of the catalog and its traps that are to be probed."""

    keys: Mapping[str, str]
    """sweep_id, model_id, revision, analysis_key."""
    generation: str
    num_layers: int
    spec: str | None
    source: str
    step: int | None
    num_params: int
    options: AnalysisOptions
    """With which the traps were found: their seed."""
    selection: LayerSelection
    """What made the layers, and so their numbers."""
    traps: tuple[TrapPlace, ...]
    is_composed: bool
    """True when its layers are those of an adapter on its base."""

    new_columns: Mapping[str, object] = field(default_factory=dict)
    """Columns of `models` that change: what the diagnostics gave."""

    @property
    def is_new(self) -> bool:
        """It keeps its key: its rows are replaced."""
        return False

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other units."""
        return tuple(self.keys.values())


def probe_units(con: duckdb.DuckDBPyConnection, which: Which) -> list[ProbeUnit]:
    """The newest analyses that have traps to probe. UseError when a glob or a family matches nothing."""
    rows = ask(con, _UNITS).to_pylist()
    _check(which, rows)
    wanted = _places_of(con, which)
    best = _first_of_the_board(con, which.top)
    settings: dict[str | None, tuple[AnalysisOptions, LayerSelection] | None] = {}
    units: list[ProbeUnit] = []
    for row in rows:
        keys = {name: str(row[name]) for name in COMMIT}
        traps = wanted.get(tuple(keys.values()), ())
        text = row["spec"]
        if text not in settings:
            settings[text] = settings_of(text)
        known = settings[text]
        is_meant = which.takes(row["model_id"], row["family"])
        is_meant &= best is None or (row["model_id"], row["revision"]) in best
        has_work = traps or (
            which.without_traps and (which.again or row["diagnostics_data"] is None)
        )
        if not has_work or not is_meant or known is None:
            continue
        units.append(
            ProbeUnit(
                keys,
                row["generation"],
                row["layers_analysed"],
                text,
                row["source"],
                row["step"],
                row["num_params"] or 0,
                *known,
                tuple(traps),
                bool(row["base_revision"]) and known[1].adapters != "delta",
            )
        )
    return units


def _check(which: Which, rows: Sequence[Mapping[str, object]]) -> None:
    ids = sorted({str(row["model_id"]) for row in rows})
    for glob in which.models:
        if not any(Which((glob,)).takes(name, None) for name in ids):
            raise UseError(
                f"got the model {glob!r}, which the catalog does not hold; it holds "
                f"{', '.join(ids[:5]) or 'none'}{', ...' if len(ids) > 5 else ''}"
            )
    families = sorted({str(row["family"]) for row in rows if row["family"]})
    if which.family is not None and which.family not in families:
        raise UseError(
            f"--family: got {which.family!r}; wanted one of {', '.join(families) or 'none here'}"
        )


def _places_of(
    con: duckdb.DuckDBPyConnection, which: Which
) -> dict[tuple[str, ...], list[TrapPlace]]:
    """The traps of every unit that has one without a probe; all of them, as one run of probes."""
    places: dict[tuple[str, ...], list[TrapPlace]] = {}
    open_units: set[tuple[str, ...]] = set()
    for row in ask(con, _TRAPS).to_pylist():
        key = tuple(str(row[name]) for name in COMMIT)
        place = (row["layer_index"], row["replicate"], row["trap_index"], row["eigenvalue"])
        places.setdefault(key, []).append(place)
        if which.again or (row["verdict"] == "unprobed" and row["probe_reason"] is None):
            open_units.add(key)
    return {key: of_unit for key, of_unit in places.items() if key in open_units}


def _first_of_the_board(
    con: duckdb.DuckDBPyConnection, top: int | None
) -> set[tuple[str, str]] | None:
    if top is None:
        return None
    query = (
        "select model_id, revision from model_scores "
        "order by mean_traps desc nulls last, max_trap_excess desc nulls last, model_id limit ?"
    )
    return {(row["model_id"], row["revision"]) for row in ask(con, query, [top]).to_pylist()}


def target_of(unit: ProbeUnit) -> Target:
    """The model behind a unit, at the revision that was swept; a failure where it cannot be had."""
    keys = unit.keys
    base = Target(keys["model_id"], keys["revision"], None, unit.source, step=unit.step)
    kind, _, place = unit.source.partition(":")
    try:
        if unit.is_composed:
            raise UseError("an adapter on its base: the network of the two together is not built")
        if kind in ("hub", "query"):
            return Target(
                base.model_id,
                base.revision,
                HubLocation(
                    base.model_id,
                    base.revision,
                    endpoint_of(unit.spec, unit.source, base.model_id),
                ),
                unit.source,
                origin=Origin("hub", place, base.model_id),
            )
        if kind != "path":
            raise UseError(f"its source {unit.source!r} is of a kind that is not read again")
        origin = Origin("bucket" if is_url(place) else "folder", place, place)
        listed = Target(
            base.model_id, base.revision, None, unit.source, step=unit.step, origin=origin
        )
        pinned = kind_named(origin.kind).load().list_again(listed)
    except ZooError as error:
        return _failed(base, failure_of(error))
    if pinned.failure is None and pinned.revision != base.revision:
        changed = StaleListingError(
            f"{place} is not what was swept any more (revision {base.revision[:12]}, now "
            f"{pinned.revision[:12]}); sweep it again"
        )
        return _failed(base, failure_of(changed))
    return pinned


def _failed(target: Target, failure: Failure) -> Target:
    return Target(target.model_id, target.revision, None, target.source, failure=failure)
