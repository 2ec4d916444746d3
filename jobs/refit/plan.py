"""What a refit of a catalog has to do: every unit, what to compute for it, and under which key.

A unit keeps its analysis key when that key still says how its numbers come about: the options of its
sweep under today's version of the numbers. Options that follow from spectra alone give the key that a
sweep with them would have. Everything else gets a key of its own kind (`refit_key`), which no sweep
takes for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from catalog.read.query import ask
from catalog.schema.keys import COMMIT
from catalog.write.commits import UnitKey
from jobs.errors import SpecError
from jobs.refit.columns import Change
from jobs.spec.load import parse_spec
from jobs.spec.tables import Spec
from jobs.units.unit import analysis_key, key_with_base
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import NUMBERS_VERSION

_FROM_SPECTRA = ("clip_fingers", "level", "tail_models", "bootstrap")
"""Options that a refit can change. The others need the weights."""

_UNITS = """
select m.sweep_id, m.model_id, m.revision, m.analysis_key, m.generation, m.layers_analysed,
    m.versions, s.spec
from internal.shown_models as m left join sweeps as s using (sweep_id)
where m.layers_analysed > 0
order by m.generation, m.model_id, m.revision, m.analysis_key
"""

Settings = tuple[AnalysisOptions, LayerSelection]
"""What a spec says of how layers are measured, and which."""


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
    new_key: str
    """Under its own key the unit is replaced, if a number moved; under another one it is written
    in any case."""
    change: Change

    @property
    def is_new(self) -> bool:
        """True when the result is another unit."""
        return self.new_key != self.keys["analysis_key"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A unit that has to be swept again instead."""

    model_id: str
    reason: str


def refit_key(options: AnalysisOptions, selection: LayerSelection) -> str:
    """Key of numbers that were partly computed anew and partly carried over; 16 hex digits."""
    fields = {
        "refit": NUMBERS_VERSION,
        "options": options.key_fields(),
        "selection": asdict(selection),
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def refit_units(
    con: duckdb.DuckDBPyConnection, spec: Spec | None, spec_text: str
) -> tuple[list[RefitUnit], list[LeftOut]]:
    """Every unit in file order; with a spec, the newest of each revision that differs from it.

    A unit whose numbers an earlier refit has put under another key is left out: that one is there.
    """
    stored = ask(con, _UNITS).to_pylist()
    latest: set[tuple[object, ...]] = set()
    if spec is not None:
        newest = ask(con, f"select {', '.join(COMMIT)} from models_latest").to_pylist()
        latest = {tuple(row.values()) for row in newest}
    done = {UnitKey(row["model_id"], row["revision"], row["analysis_key"]) for row in stored}
    units: list[RefitUnit] = []
    left: list[LeftOut] = []
    settings: dict[str | None, Settings | None] = {}
    plans: dict[tuple[str | None, str, str], tuple[str, Change] | str] = {}
    defaults = _default_keys()
    for row in stored:
        text = row["spec"]
        if text not in settings:
            settings[text] = _settings(text)
        keys = {name: str(row[name]) for name in COMMIT}
        if text is None and keys["analysis_key"] not in defaults:
            left.append(
                LeftOut(keys["model_id"], "its sweep, and so its options, are not recorded")
            )
            continue
        if spec is not None and tuple(keys.values()) not in latest:
            continue
        known = (text, keys["analysis_key"], _base_revision(row["versions"]))
        if known not in plans:
            plans[known] = _plan(*known[1:], settings[text], spec)
        plan = plans[known]
        if isinstance(plan, str):
            left.append(LeftOut(keys["model_id"], plan))
            continue
        new_key, change = plan
        new = UnitKey(keys["model_id"], keys["revision"], new_key)
        if (spec is not None or new_key != keys["analysis_key"]) and new in done:
            continue
        done.add(new)
        new_spec = text if spec is None else spec_text
        units.append(
            RefitUnit(keys, row["generation"], row["layers_analysed"], new_spec, new_key, change)
        )
    return units, left


def _base_revision(versions: str | None) -> str:
    """Of the base model of an adapter's unit; empty where there is none, or it is not recorded."""
    try:
        recorded = json.loads(versions or "{}")
    except ValueError:
        return ""
    base = recorded.get("base_revision") if isinstance(recorded, dict) else None
    return base if isinstance(base, str) else ""


def _settings(text: str | None) -> Settings | None:
    """The options of a stored spec: defaults where there is none, None when it is unreadable."""
    if text is None:
        return AnalysisOptions(), LayerSelection()
    try:
        spec = parse_spec(text, folder=Path("."))
    except SpecError:
        return None
    return spec.options, spec.selection


def _default_keys() -> tuple[str, str]:
    """Keys of units that need no record of their options."""
    options, selection = AnalysisOptions(), LayerSelection()
    return analysis_key(options, selection), refit_key(options, selection)


def _plan(
    key: str, base_revision: str, old: Settings | None, spec: Spec | None
) -> tuple[str, Change] | str:
    """(new key, what to compute), or why the unit has to be swept again."""
    if old is None:
        return "the spec of its sweep cannot be read by this version"
    before, selection = old
    now = before if spec is None else spec.options
    if spec is not None:
        fields, others = now.key_fields(), before.key_fields()
        fixed = [n for n in fields if fields[n] != others[n] and n not in _FROM_SPECTRA]
        fixed += ["[layers]"] if spec.selection != selection else []
        if fixed:
            return f"another {', '.join(fixed)} needs the weights"
    measured = key_with_base(analysis_key(before, selection), base_revision)
    is_exact = key == measured and now.level == before.level
    new_key = analysis_key(now, selection) if is_exact else refit_key(now, selection)
    return key_with_base(new_key, base_revision), Change(before, now)
