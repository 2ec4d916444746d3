"""A unit of work, its analysis key, and the tasks it is cut into. Frozen values, no I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from jobs.sources.target import Target
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import NUMBERS_VERSION

GIB = 2**30
"""Bytes of a gibibyte."""


def analysis_key(options: AnalysisOptions, selection: LayerSelection) -> str:
    """16 hex digits over everything that can move a stored number: options, selection, code version."""
    fields = {
        "numbers": NUMBERS_VERSION,
        "options": options.key_fields(),
        "selection": asdict(selection),
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def key_with_base(key: str, base_revision: str) -> str:
    """The key of an adapter's unit whose numbers depend on the base model too."""
    if not base_revision:
        return key
    return hashlib.blake2b(f"{key} on {base_revision}".encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Unit:
    """(model, revision, analysis key): the unit of work, of commit and of resume."""

    target: Target
    analysis_key: str
    options: AnalysisOptions
    selection: LayerSelection

    @property
    def key(self) -> tuple[str, str, str]:
        """What the catalog knows it by."""
        return (self.target.model_id, self.target.revision, self.analysis_key)


def unit_of(target: Target, options: AnalysisOptions, selection: LayerSelection) -> Unit:
    """What analysing `target` so is known by."""
    key = key_with_base(analysis_key(options, selection), target.base_revision)
    return Unit(target, key, options, selection)


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
    device: str = "auto"

    @property
    def label(self) -> str:
        """How messages name the task: model, revision, and which of several tasks of a unit."""
        part = f" [{self.group + 1}/{self.num_groups}]" if self.num_groups > 1 else ""
        return f"{self.unit.target.model_id}@{self.unit.target.revision[:12]}{part}"
