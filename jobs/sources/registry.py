"""The kinds of sources: one module each, registered by one line.

A kind that has a key of its own in `[[source]]` declares that key in `jobs.spec.tables.Source`; a test
holds both lists against each other. Modules are imported when the first source of their kind is listed:
clients of remote stores are slow to import.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from jobs.sources.target import Target
from jobs.spec.tables import Source
from zoo.io.addresses import is_url

Say = Callable[[str], None]
"""Hears what is left out and why."""


class SourceModule(Protocol):
    """What the module of a kind offers."""

    def list_targets(self, source: Source, where: str, say: Say) -> Iterable[Target]:
        """The models behind `source`, pinned, in a stable order.

        `where` is the path of the source in the spec, for messages. A model that cannot be pinned is
        a target with a `failure`; UseError is for a source that cannot be meant as it stands. An error
        of another kind ends this source alone: what was listed before it is kept.
        """

    def list_again(self, target: Target) -> Target:
        """The same model pinned anew, after its files changed; its revision may be another one.

        Never gets a target with a base. Does not raise for what is wrong with the model: that is a
        `failure`.
        """


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source."""

    name: str
    """`Origin.kind` of its targets."""
    keys: tuple[str, ...]
    """The keys of `[[source]]` that may name one."""
    module: str
    """A `SourceModule`."""
    takes: Callable[[str], bool] = lambda text: True
    """Whether the text under such a key is meant for this kind: several may share a key."""

    def load(self) -> SourceModule:
        """The module of this kind, which is imported now."""
        return cast(SourceModule, importlib.import_module(self.module))


KINDS: tuple[Kind, ...] = (
    Kind("hub", ("hub", "query"), "jobs.sources.hub"),
    Kind("bucket", ("path",), "jobs.sources.buckets", takes=is_url),
    Kind("folder", ("path",), "jobs.sources.folders", takes=lambda text: not is_url(text)),
)


def kind_of(source: Source) -> Kind:
    """The kind that lists `source`. LookupError when none was registered for its key."""
    for kind in KINDS:
        for key in kind.keys:
            value = getattr(source, key)
            if value is not None and kind.takes(str(value)):
                return kind
    raise LookupError(f"no kind of source is registered for {source!r}")


def kind_named(name: str) -> Kind:
    """The kind called `name`: that of a target's `origin`."""
    return next(kind for kind in KINDS if kind.name == name)
