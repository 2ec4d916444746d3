"""A unit of work, and the tasks it is cut into. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jobs.sources.target import Target
from jobs.units.key import (
    NumberVersions,
    asked,
    decoder_versions,
    group_versions,
    options_key,
    unit_key,
)
from zoo.options import AnalysisOptions, LayerSelection

GIB = 2**30
"""Bytes of a gibibyte."""


@dataclass(frozen=True, slots=True)
class Unit:
    """(model, revision, analysis key): the unit of work, of commit and of resume."""

    target: Target
    options: AnalysisOptions
    selection: LayerSelection
    options_key: str
    """Hash of all that the listing tells: see `jobs.units.key`."""
    decoders: tuple[str, ...] | None = None
    """Names of the decoders it uses, sorted; None until its headers have been read."""

    @property
    def analysis_key(self) -> str:
        """Under which the numbers are stored; until its decoders are known, as if their versions were 1."""
        return unit_key(self.options_key, decoder_versions(self.decoders or ()))

    @property
    def key(self) -> tuple[str, str, str]:
        """What the catalog knows it by."""
        return (self.target.model_id, self.target.revision, self.analysis_key)

    @property
    def asked(self) -> str:
        """What its numbers were asked for with: units with the same can be compared."""
        return asked(self.options, self.selection)

    @property
    def number_versions(self) -> NumberVersions:
        """The versions above 1 that are hashed in its key."""
        return NumberVersions(group_versions(self.options), decoder_versions(self.decoders or ()))

    def with_decoders(self, decoders: Iterable[str]) -> Unit:
        """The unit, now that its decoders are known."""
        return replace(self, decoders=tuple(sorted(set(decoders))))


def unit_of(target: Target, options: AnalysisOptions, selection: LayerSelection) -> Unit:
    """What measuring a listed model so is known by, under today's versions."""
    key = options_key(options, selection, base_revision=target.base_revision)
    return Unit(target, options, selection, key)


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does in one call: a unit, or some weights of it."""

    unit: Unit
    group: int = 0
    """Number of this group of weights within the unit."""
    num_groups: int = 1
    weights: tuple[str, ...] | None = None
    """Logical weight names of this group; None: all."""
    nbytes: int = 0
    """Bytes this task is expected to read."""
    peak_bytes: int = GIB
    """Memory this task is expected to need: three times its largest float32 matrix plus 1 GiB."""
    cost_s: float = 0.0
    """Seconds of one core that it is expected to take: see `jobs.units.cost`."""
    device: str = "auto"
    gpu_share: float = 1.0
    """The part of an accelerator's memory that its worker has."""
