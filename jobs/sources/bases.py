"""Models read with their base model: which one, pinned like any other target.

The base is what the source says (`base`), else the target of the same spec whose id is the one that the
model itself names. Nothing else makes the base of an adapter; that of a fine-tune (`[layers] deltas`) may
also be what the Hub has under that id. No folder is looked for by a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jobs.sources.base_names import NamedBase, named_base
from jobs.sources.registry import Say, kind_named, kind_of
from jobs.sources.target import Failure, Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import NotFoundError, ZooError
from zoo.io.addresses import address_of
from zoo.io.paired import PairedLocation

_THREADS = 8
"""Models whose cards and configs are read at a time: most of it is waiting for a Hub."""


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
    """The target, read together with its base model; alone when that is the target itself."""
    if base is None or target.failure is not None or _is_same(target, base):
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
            f"it names the base {name!r}, of which the spec lists {len(fitting)} revisions; "
            "wanted one: give `base` in the [[source]]"
        )
        return replace(target, failure=failure_of(NotFoundError(message)))
    return on_base(target, fitting[0] if fitting else None)


def on_known_bases(
    targets: Sequence[tuple[Source, Target]], others: Sequence[Target], say: Say
) -> list[Target]:
    """The targets, each on the base that it names; a base is looked for once, however many name it.

    `say` hears which have none.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        named = list(pool.map(lambda pair: _named(*pair), targets))
    bases: dict[tuple[str, str | None], Target] = {}
    on_bases: list[Target] = []
    without: list[str] = []
    for (source, target), name in zip(targets, named, strict=True):
        if isinstance(name, Failure):
            on_bases.append(replace(target, failure=name))
            continue
        if name is None or name.model_id is None:
            if name is not None:
                without.append(f"{target.model_id} ({name.why})")
            on_bases.append(target)
            continue
        listed = [other for other in others if other.model_id == name.model_id]
        if listed:
            on_bases.append(on_named_base(replace(target, named_base=name.model_id), others))
            continue
        place = (name.model_id, source.endpoint)
        if place not in bases:
            bases[place] = _on_the_hub(*place, say)
        base = bases[place]
        if base.failure is not None:
            why = f"{base.failure.message} ({name.model_id!r} is {name.why}; `base` in the [[source]] wins)"
            base = replace(base, failure=replace(base.failure, message=why))
        on_bases.append(on_base(target, base))
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        say(f"without deltas, as no base model is known: {', '.join(without[:3])}{more}")
    return on_bases


def _named(source: Source, target: Target) -> NamedBase | Failure | None:
    """What the target names; None for one whose source gives the base, and for one that has failed."""
    if source.base is not None or target.failure is not None:
        return None
    try:
        return named_base(target)
    except ZooError as error:
        return failure_of(error)


def _on_the_hub(model_id: str, endpoint: str | None, say: Say) -> Target:
    """The model of that id on the Hub, at the commit of its main branch today."""
    source = source_named(model_id, endpoint=endpoint)
    (model,) = kind_of(source).load().list_targets(source, f"base {model_id}", say)
    return model


def _is_same(target: Target, base: Target) -> bool:
    return (target.origin, target.revision) == (base.origin, base.revision)


def listed_again(target: Target) -> Target:
    """The same model pinned anew, with its base if it has one, after files changed."""
    base = target.base
    alone = kind_named(target.origin.kind).load().list_again(off_base(target))
    return alone if base is None else on_base(alone, listed_again(base))


def _of_base(failure: Failure) -> Failure:
    return replace(failure, message=f"base model: {failure.message}")
