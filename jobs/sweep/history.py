"""What the catalog knows of models that are listed again: which units are finished, by which decoders.

A unit that is listed has no decoders yet, and so no final key: only its headers tell them. But of a model
that the catalog has under the same options, the row tells them, and no header is read for a unit that is
done. Once the version of one of its decoders is raised, its key is another one, and it is not done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from catalog.read import views
from catalog.read.lacking import Lack, lacking_of
from catalog.read.query import ask
from catalog.write.finished import FinishedUnit, newest, stored_units
from catalog.write.names import UnitKey
from jobs.units.key import decoder_versions, options_key, unit_key
from jobs.units.unit import Unit
from zoo.version import DECODERS, UNKNOWN

_DECODERS_OF_LAYERS = f"""
select model_id, revision, analysis_key, decoder as name from layers
where decoder is not null
union
select model_id, revision, analysis_key, '{UNKNOWN}' from tensors where fate = 'unknown'
"""


class History:
    """The finished units of a catalog."""

    def __init__(self, finished: Iterable[FinishedUnit], lacks: Iterable[Lack] = ()) -> None:
        """`lacks`: which of them have not all their rows, and so are not done."""
        self._by_key = {unit.key: unit for unit in finished}
        self._lacks: dict[UnitKey, list[Lack]] = defaultdict(list)
        for lack in lacks:
            self._lacks[lack.key].append(lack)
        self._by_options: Mapping[tuple[str, str, str], list[FinishedUnit]] = defaultdict(list)
        self._by_weights: Mapping[str, list[FinishedUnit]] = defaultdict(list)
        for unit in self._by_key.values():
            self._index(unit)

    def _index(self, unit: FinishedUnit) -> None:
        self._by_options[unit.key.model_id, unit.key.revision, unit.options_key].append(unit)
        if unit.weights_key is not None and unit.settings_key is not None:
            self._by_weights[unit.weights_key].append(unit)

    @classmethod
    def of(cls, root: str) -> History:
        """That of the catalog `root`; empty when there is none yet."""
        stored = stored_units(root)
        finished = newest(stored)
        is_needed = any(version > 1 for version in DECODERS.values())
        if is_needed and any(unit.decoders is None for unit in finished):
            known = _decoders_of_layers(root)
            finished = tuple(
                unit if unit.decoders is not None
                else replace(unit, decoders=tuple(sorted(known.get(unit.key, ()))))
                for unit in finished
            )  # fmt: skip
        return cls(finished, lacking_of(root, stored))

    def recognise(self, unit: Unit) -> Unit:
        """`unit` with the decoders of the same model under the same options, if it was measured before."""
        before = self._by_options.get(
            (unit.target.model_id, unit.target.revision, unit.options_key), ()
        )
        known = [unit.with_decoders(b.decoders) for b in before if b.decoders is not None]
        done = [k for k in known if UnitKey(*k.key) in self._by_key]
        return next(iter((*done, *known)), unit)

    def finished(self, unit: Unit) -> FinishedUnit | None:
        """What the catalog has under the key of `unit`; None as well for one that lacks rows."""
        key = UnitKey(*unit.key)
        return None if key in self._lacks else self._by_key.get(key)

    def lacks(self, unit: Unit) -> tuple[Lack, ...]:
        """The tables in which the unit was finished and has lost rows since."""
        return tuple(self._lacks.get(UnitKey(*unit.key), ()))

    def add(self, unit: FinishedUnit) -> None:
        """One more, or one that was measured again."""
        self._by_key[unit.key] = unit
        self._lacks.pop(unit.key, None)
        self._index(unit)

    def of_equal_weights(self, unit: Unit, weights_key: str) -> tuple[FinishedUnit, ...]:
        """Finished units that hold the numbers of `unit`, whose weights have this key, if their settings
        are equal too; the newest last. Their decoders are known, and of today's versions."""
        return tuple(
            finished
            for finished in self._by_weights.get(weights_key, ())
            if finished is self._by_key.get(finished.key)
            and finished.key not in self._lacks
            and finished.decoders is not None
            and finished.options_key == _options_key_on(finished, unit)
            and finished.key.analysis_key
            == unit_key(finished.options_key, decoder_versions(finished.decoders))
        )


def _options_key_on(finished: FinishedUnit, unit: Unit) -> str:
    """The options_key that `unit` would have on the base of `finished`.

    An adapter's weights_key stands for the weights of its base as well, at whichever revision.
    """
    base = unit.target.base_revision
    is_of_both = " on " in (finished.weights_key or "")
    if not (base and finished.base_revision and is_of_both):
        return unit.options_key
    return options_key(unit.options, unit.selection, base_revision=finished.base_revision)


def _decoders_of_layers(root: str) -> dict[UnitKey, set[str]]:
    """Decoders by unit, from the rows of layers and tensors: for units older than the column."""
    with views.connect(root) as con:
        rows = ask(con, _DECODERS_OF_LAYERS).to_pylist()
    names: dict[UnitKey, set[str]] = defaultdict(set)
    for row in rows:
        names[UnitKey(row["model_id"], row["revision"], row["analysis_key"])].add(row["name"])
    return names
