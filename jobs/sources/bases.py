"""Adapters read with their base model: which one, pinned like any other target.

The base is what the source says (`base`), else the target of the same spec whose id is the one that the
adapter's own settings name. Nothing else makes a base: no folder is looked for by a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.sources.registry import Say, kind_named, kind_of
from jobs.sources.target import Failure, Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import NotFoundError
from zoo.io.addresses import address_of
from zoo.io.paired import PairedLocation


def source_named(text: str, *, endpoint: str | None = None) -> Source:
    """The source that a text means by its form: a URL, a path, or a Hub id with perhaps `@revision`."""
    address = address_of(text)
    if address.kind == "hub":
        return Source(hub=address.place, revision=address.revision or "main", endpoint=endpoint)
    return Source(path=address.place)


def base_of(source: Source, where: str, say: Say) -> Target | None:
    """The base model a source names, or None when it names none."""
    if source.base is None:
        return None
    asked = source_named(source.base, endpoint=source.endpoint)
    models = list(kind_of(asked).load().list_targets(asked, f"{where}.base", say))
    if len(models) == 1:
        return models[0]
    error = NotFoundError(f"base {source.base!r}: {len(models)} models; wanted one")
    return Target(source.base, "", None, f"base:{source.base}", failure=failure_of(error))


def on_base(target: Target, base: Target | None) -> Target:
    """The target, read together with its base model."""
    if base is None or target.failure is not None:
        return target
    if base.failure is not None:
        return replace(target, failure=_of_base(base.failure))
    assert target.location is not None and base.location is not None
    return replace(
        target,
        location=PairedLocation(target.location, base.location),
        base=base,
        nbytes=target.nbytes + base.nbytes,
    )


def off_base(target: Target) -> Target:
    """The target alone, as it was before `on_base`."""
    if target.base is None:
        return target
    assert isinstance(target.location, PairedLocation)
    return replace(
        target,
        location=target.location.adapter,
        base=None,
        nbytes=target.nbytes - target.base.nbytes,
    )


def on_named_base(target: Target, others: Sequence[Target]) -> Target:
    """The target on the one of `others` that its own settings name; alone when none has that id."""
    name = target.named_base
    if name is None or target.base is not None or target.failure is not None:
        return target
    fitting = [other for other in others if other.model_id == name and other is not target]
    if len({other.revision for other in fitting}) > 1:
        message = (
            f"its settings name the base {name!r}, of which the spec lists {len(fitting)} revisions; "
            "wanted one: give `base` in the [[source]]"
        )
        return replace(target, failure=failure_of(NotFoundError(message)))
    return on_base(target, fitting[0] if fitting else None)


def listed_again(target: Target) -> Target:
    """The same model pinned anew, with its base if it has one, after files changed."""
    base = target.base
    alone = kind_named(target.origin.kind).load().list_again(off_base(target))
    return alone if base is None else on_base(alone, listed_again(base))


def _of_base(failure: Failure) -> Failure:
    return replace(failure, message=f"base model: {failure.message}")
