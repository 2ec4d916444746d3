"""Analysis keys: hashes of what decides the numbers of a unit, so that the same key means the same numbers.

A key is made in two steps. `options_key` is known as soon as a model is listed: options, layer selection,
the base model, the versions of the metric groups that the options ask for. Which decoders a unit uses is
known once its headers have been read; `unit_key` adds their versions. A version of 1 adds nothing, so that
a new group or decoder changes no key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Literal

from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import GROUPS, NUMBERS_VERSION, decoder_version

Kind = Literal["numbers", "refit"]
"""Numbers that were measured, or computed anew from stored spectra in a way that no sweep would."""


@dataclass(frozen=True, slots=True)
class NumberVersions:
    """Versions that are hashed in a key, those above 1 by name."""

    groups: Mapping[str, int] = field(default_factory=dict)
    decoders: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str | None:
        """As the column `number_versions` of `models` holds it; None: all are 1."""
        if not self.groups and not self.decoders:
            return None
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> NumberVersions:
        """The value of that column."""
        return cls(**json.loads(text)) if text else cls()


def group_versions(options: AnalysisOptions) -> dict[str, int]:
    """Today's versions of the metric groups that `options` ask for, those above 1."""
    asked = {name: group.version for name, group in GROUPS.items() if group.is_asked_for(options)}
    return {name: version for name, version in asked.items() if version > 1}


def decoder_versions(decoders: Iterable[str]) -> dict[str, int]:
    """Today's versions of `decoders`, those above 1.

    One that this program has not got counts as 1: a newer program has read the model with it.
    """
    versions = {name: decoder_version(name) or 1 for name in decoders}
    return {name: version for name, version in versions.items() if version > 1}


def options_key(
    options: AnalysisOptions,
    selection: LayerSelection,
    *,
    base_revision: str = "",
    groups: Mapping[str, int] | None = None,
) -> str:
    """16 hex digits over all that a listing tells: see above.

    `base_revision`: of the base model that an adapter is read with; empty without one. `groups`: versions
    above 1 of the metric groups; None: today's.
    """
    return _options_key("numbers", options, selection, base_revision, groups)


def refit_key(
    options: AnalysisOptions,
    selection: LayerSelection,
    *,
    base_revision: str = "",
    groups: Mapping[str, int] | None = None,
) -> str:
    """In place of `options_key` for numbers that no measurement gives: partly computed anew at another
    level, partly carried over. No sweep takes it for its own."""
    return _options_key("refit", options, selection, base_revision, groups)


def asked(
    options: AnalysisOptions,
    selection: LayerSelection,
    *,
    groups: Mapping[str, int] | None = None,
    kind: Kind = "numbers",
) -> str:
    """The JSON that `options_key` (or `refit_key`) hashes, without what it says of a base model.

    Numbers of models that were asked for the same can be compared, also of adapters on other bases and
    of fine-tunes beside whose layers W − W_base was measured.
    """
    return _json(kind, options, selection, groups, has_base=False)


def _options_key(
    kind: Kind,
    options: AnalysisOptions,
    selection: LayerSelection,
    base_revision: str,
    groups: Mapping[str, int] | None,
) -> str:
    key = _hash(_json(kind, options, selection, groups, has_base=bool(base_revision)))
    return _hash(f"{key} on {base_revision}") if base_revision else key


def _json(
    kind: Kind,
    options: AnalysisOptions,
    selection: LayerSelection,
    groups: Mapping[str, int] | None,
    *,
    has_base: bool,
) -> str:
    raised = group_versions(options) if groups is None else groups
    return _json_of(
        kind, NUMBERS_VERSION, options, selection, tuple(raised.items()), has_base=has_base
    )


@lru_cache(maxsize=64)  # a sweep asks it of every unit, with a few kinds of options
def _json_of(
    kind: Kind,
    number: int,
    options: AnalysisOptions,
    selection: LayerSelection,
    raised: tuple[tuple[str, int], ...],
    *,
    has_base: bool,
) -> str:
    fields: dict[str, object] = {
        kind: number,
        "options": options.key_fields(),
        "selection": selection.key_fields(has_base=has_base),
    }
    if raised:
        fields["groups"] = dict(raised)
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def unit_key(of_options: str, decoders: Mapping[str, int]) -> str:
    """The analysis key of a unit: its options_key, and the versions above 1 of its decoders."""
    if not decoders:
        return of_options
    text = json.dumps(dict(decoders), sort_keys=True, separators=(",", ":"))
    return _hash(f"{of_options} decoded by {text}")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
