"""Sources -> targets: which models, at which revisions, lie behind a spec.

A target is pinned: its revision is a commit sha or a content fingerprint, so that planning twice and
sweeping later mean the same bytes. One source that goes wrong is one target that failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from jobs.sources.bases import base_of, on_base, on_known_bases, on_named_base
from jobs.sources.registry import Say, kind_of
from jobs.sources.target import Failure, Origin, Target, failure_of
from jobs.spec.tables import Source, Spec
from zoo.errors import UseError, ZooError
from zoo.io.file_names import shown


def find_targets(spec: Spec, say: Say | None = None) -> tuple[Target, ...]:
    """All targets of a spec, in the spec's order; `say` hears what is left out.

    Raises UseError when a path or a step_pattern matches nothing or two sources give the same
    (model, revision).
    """
    say = say or _say_nothing
    targets: list[Target] = []
    sources: list[Source] = []
    with_base = spec.layers.adapters != "delta" or spec.layers.deltas
    for number, source in enumerate(spec.source):
        where = f"source[{number}]"
        base = base_of(source, where, say) if with_base else None
        targets += [on_base(target, base) for target in _listed(source, where, say)]
        sources += [source] * (len(targets) - len(sources))
    if spec.layers.deltas:
        pairs = list(zip(sources, targets, strict=True))
        targets = on_known_bases(pairs, targets, say)
    elif with_base:
        targets = [on_named_base(target, targets) for target in targets]
    _refuse_twins(targets)
    return tuple({(t.model_id, t.revision): t for t in reversed(targets)}.values())[::-1]


def _listed(source: Source, where: str, say: Say) -> Iterator[Target]:
    """What a source lists; an error that ends the listing is a target too, with its failure."""
    kind = kind_of(source)
    try:
        yield from kind.load().list_targets(source, where, say)
    except UseError:
        raise
    except ZooError as error:
        yield _failed(source, kind.name, failure_of(error))
    except Exception as error:  # the boundary of foreign clients: what they raise becomes a row
        message = shown(f"listing {where}: {error}")
        yield _failed(source, kind.name, Failure("bug", type(error).__name__, message))


def _failed(source: Source, kind: str, failure: Failure) -> Target:
    """The failure needs a key of its own: no revision is known."""
    text = shown(source.path or source.hub or str(source.query))
    stand_in = hashlib.blake2b(f"unlisted {text}".encode(), digest_size=20).hexdigest()
    origin = Origin(kind, text, text)
    return Target(text, stand_in, None, text, family=source.family, origin=origin, failure=failure)


def _say_nothing(text: str) -> None:
    """Where nobody listens."""


def _refuse_twins(targets: Sequence[Target]) -> None:
    """Two different folders must not share an id; the same Hub revision may be listed twice, once is done."""
    first: dict[str, Target] = {}
    for target in targets:
        other = first.setdefault(target.model_id, target)
        if not other.origin.is_same_model(target.origin):
            raise UseError(
                f"two sources give the id {target.model_id!r}: {other.source} and {target.source}; "
                "give one of them a `name` in its [[source]], or rename a folder"
            )
