"""Which Hub a swept model came from: read from the spec of its sweep."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import SpecError
from jobs.spec.load import parse_spec


def endpoint_of(spec: str | None, source: str, model_id: str) -> str | None:
    """The `endpoint` of the source in the stored `spec` that gave a model; None: the one that is usual here.

    `source` is the model's `hub:repository@revision` or `query:...`. Where several sources of a kind may
    have given it, the first that names the repository, then the first of the kind.
    """
    if spec is None:
        return None
    try:
        sources = parse_spec(spec, folder=Path(".")).source
    except SpecError:
        return None
    kind = source.partition(":")[0]
    of_kind = [s for s in sources if (s.hub if kind == "hub" else s.query) is not None]
    named = [s for s in of_kind if (s.hub or "").partition("@")[0] == model_id]
    return next((s.endpoint for s in named or of_kind), None)
