"""What a refit of a catalog has to do: every unit, what to compute for it, and under which key.

A unit keeps its analysis key when that key still says how its numbers come about: the options of its
sweep, today's versions of what a refit computes, and the versions it was measured with of all the rest.
Options that follow from spectra alone give the key that a sweep with them would have. Everything else gets
a key of its own kind (`refit_key`), which no sweep takes for its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from catalog.read.query import ask
from catalog.schema.keys import COMMIT
from catalog.write.names import UnitKey
from jobs.errors import SpecError
from jobs.refit.columns import Change
from jobs.spec.load import parse_spec
from jobs.spec.tables import Spec
from jobs.units.key import NumberVersions, asked, options_key, refit_key, unit_key
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import GROUPS

_FROM_SPECTRA = ("clip_fingers", "level", "tail_models", "bootstrap")
"""Options that a refit can change. The others need the weights."""

_UNITS = """
select m.sweep_id, m.model_id, m.revision, m.analysis_key, m.generation,
    m.layers_analysed + coalesce(m.deltas_analysed, 0) as layers_analysed,
    m.versions, m.base_revision, m.options_key, m.number_versions, s.spec
from internal.shown_models as m left join sweeps as s using (sweep_id)
where m.layers_analysed > 0
order by m.generation, m.model_id, m.revision, m.analysis_key
"""

Settings = tuple[AnalysisOptions, LayerSelection]
"""What a spec says of how layers are measured, and which."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """The key of a refitted unit, and what is hashed in it: columns of `models`."""

    analysis_key: str
    options_key: str
    asked: str
    number_versions: str | None
    base_revision: str | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of all units that were measured alike."""

    new_key: NewKey
    change: Change
    swept_key: str
    """The options_key that a sweep gives today."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What decided the numbers of a stored unit, but for its options."""

    analysis_key: str
    base_revision: str
    versions: NumberVersions

    def is_measured_with(self, settings: Settings) -> bool:
        """True when its key is that of a measurement under these settings."""
        options, selection = settings
        key = options_key(
            options, selection, base_revision=self.base_revision, groups=self.versions.groups
        )
        return self.analysis_key == unit_key(key, self.versions.decoders)

    def is_refitted_with(self, settings: Settings) -> bool:
        """True when its key is one that a refit gave under these settings."""
        options, selection = settings
        key = refit_key(
            options, selection, base_revision=self.base_revision, groups=self.versions.groups
        )
        return self.analysis_key == unit_key(key, self.versions.decoders)


@dataclass(frozen=True, slots=True)
class RefitUnit:
    """One unit of the catalog, and what is to become of it."""

    keys: Mapping[str, str]
    """sweep_id, model_id, revision, analysis_key."""
    generation: str
    """Folder of its files within each table."""
    num_layers: int
    """Layers that have a spectrum."""
    spec: str | None
    """The spec, as TOML, that the new numbers follow; None when the sweep is not recorded."""
    new_key: NewKey
    """Under its own key the unit is replaced, if a number moved; under another one it is written
    in any case."""
    change: Change

    @property
    def new_columns(self) -> Mapping[str, object]:
        """Columns of `models` that say under which key it is written."""
        return asdict(self.new_key)

    @property
    def is_new(self) -> bool:
        """True when the result is another unit."""
        return self.new_key.analysis_key != self.keys["analysis_key"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A unit that has to be swept again instead."""

    model_id: str
    reason: str


def refit_units(
    con: duckdb.DuckDBPyConnection, spec: Spec | None, spec_text: str
) -> tuple[list[RefitUnit], list[LeftOut]]:
    """Every unit in file order; with a spec, the newest of each revision that differs from it.

    Left out is a unit whose numbers an earlier refit has put under another key, and one that a sweep
    has measured with today's code meanwhile: that one is there, and no mixture is to come after it.
    """
    rows = ask(con, _UNITS).to_pylist()
    latest: set[tuple[object, ...]] = set()
    if spec is not None:
        newest = ask(con, f"select {', '.join(COMMIT)} from models_latest").to_pylist()
        latest = {tuple(row.values()) for row in newest}
    done = {UnitKey(row["model_id"], row["revision"], row["analysis_key"]) for row in rows}
    swept = {
        (row["model_id"], row["revision"], row["options_key"] or row["analysis_key"])
        for row in rows
    }
    units: list[RefitUnit] = []
    left: list[LeftOut] = []
    settings: dict[str | None, Settings | None] = {}
    plans: dict[tuple[str | None, str, str, str | None], _Plan | str] = {}
    for row in rows:
        text = row["spec"]
        if text not in settings:
            settings[text] = settings_of(text)
        keys = {name: str(row[name]) for name in COMMIT}
        if spec is not None and tuple(keys.values()) not in latest:
            continue
        base_revision = row["base_revision"] or _base_revision(row["versions"])
        known = (text, keys["analysis_key"], base_revision, row["number_versions"])
        if known not in plans:
            versions = NumberVersions.from_json(row["number_versions"])
            stored = _Stored(keys["analysis_key"], base_revision, versions)
            plans[known] = _plan(stored, settings[text], spec, is_recorded=text is not None)
        plan = plans[known]
        if isinstance(plan, str):
            left.append(LeftOut(keys["model_id"], plan))
            continue
        new = UnitKey(keys["model_id"], keys["revision"], plan.new_key.analysis_key)
        if (spec is not None or new.analysis_key != keys["analysis_key"]) and new in done:
            continue
        is_as_swept = plan.new_key.options_key == plan.swept_key
        if not is_as_swept and (new.model_id, new.revision, plan.swept_key) in swept:
            continue
        done.add(new)
        new_spec = text if spec is None else spec_text
        units.append(
            RefitUnit(
                keys,
                row["generation"],
                row["layers_analysed"],
                new_spec,
                plan.new_key,
                plan.change,
            )
        )
    return units, left


def _base_revision(versions: str | None) -> str:
    """Where version 0.1.0 kept it, of the base model of an adapter's unit; empty where there is none."""
    try:
        recorded = json.loads(versions or "{}")
    except ValueError:
        return ""
    base = recorded.get("base_revision") if isinstance(recorded, dict) else None
    return base if isinstance(base, str) else ""


def settings_of(text: str | None) -> Settings | None:
    """The options of a stored spec: defaults where there is none, None when it is unreadable."""
    if text is None:
        return AnalysisOptions(), LayerSelection()
    try:
        spec = parse_spec(text, folder=Path("."))
    except SpecError:
        return None
    return spec.options, spec.selection


def _plan(
    stored: _Stored, old: Settings | None, spec: Spec | None, *, is_recorded: bool
) -> _Plan | str:
    """The new key and what to compute, or why the unit has to be swept again.

    `is_recorded`: the sweep of the unit is known; otherwise `old` are the default options.
    """
    if old is None:
        return "the spec of its sweep cannot be read by this version"
    is_measured = stored.is_measured_with(old)
    if not is_recorded and not is_measured and not stored.is_refitted_with(old):
        return "its sweep, and so its options, are not recorded"
    before, selection = old
    now = before if spec is None else spec.options
    if spec is not None:
        fields, others = now.key_fields(), before.key_fields()
        fixed = [n for n in fields if fields[n] != others[n] and n not in _FROM_SPECTRA]
        fixed += ["[layers]"] if spec.selection != selection else []
        if fixed:
            return f"another {', '.join(fixed)} needs the weights"
    groups = _groups(stored.versions.groups, now)
    is_as_measured = is_measured and now.level == before.level
    make_key = options_key if is_as_measured else refit_key
    key = make_key(now, selection, base_revision=stored.base_revision, groups=groups)
    decoders = stored.versions.decoders
    new_key = NewKey(
        unit_key(key, decoders),
        key,
        asked(now, selection, groups=groups, kind="numbers" if is_as_measured else "refit"),
        NumberVersions(groups, decoders).to_json(),
        stored.base_revision or None,
    )
    swept_key = options_key(now, selection, base_revision=stored.base_revision)
    return _Plan(new_key, Change(before, now), swept_key)


def _groups(stored: Mapping[str, int], now: AnalysisOptions) -> dict[str, int]:
    """Versions above 1 of the groups that `now` asks for: today's of what is computed anew."""
    versions = {
        name: group.version if group.follows_from_spectra else stored.get(name, 1)
        for name, group in GROUPS.items()
        if group.is_asked_for(now)
    }
    return {name: version for name, version in versions.items() if version > 1}
