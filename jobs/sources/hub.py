"""Sources on the Hub: a repository, its revisions, or a query; each pinned to a commit.

A query costs list pages, not a call a model. What cannot be reached becomes a target with its failure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from jobs.sources.pinned import target_of_snapshot
from jobs.sources.registry import Say
from jobs.sources.target import HubMetadata, Origin, Target, failure_of
from jobs.spec.tables import Query, Source
from zoo.errors import SourceError
from zoo.hub.client import HubClient
from zoo.hub.listing import HubModel, ModelQuery, list_revisions, query_models, resolve_model
from zoo.hub.location import HubLocation
from zoo.hub.offline import cached_models, is_offline
from zoo.hub.session import configure, process_client

KIND = "hub"
STEP_PATTERN = r"(?:step|checkpoint|ckpt|iter)[-_ ]?(\d+)"
"""Where the step is in a branch or tag, unless the spec says otherwise."""
_BYTES_PER_PARAM = 4
"""An upper bound for what is usual; decides only whether headers are read before work starts."""


def list_targets(source: Source, where: str, say: Say) -> Iterator[Target]:
    """See `SourceModule.list_targets`."""
    if is_offline():
        yield from _in_the_cache(source)
        return
    # time-outs for the client's own session, and signed links kept out of the logs
    configure(options=process_client().options)
    client = process_client(source.endpoint)
    if source.query is not None:
        yield from _listed(client, source, source.query)
    elif source.revisions is not None:
        yield from _trajectory(client, source, source.hub or "", source.revisions)
    else:
        repo = source.hub or ""
        try:
            model = resolve_model(client, repo, source.revision)
        except SourceError as error:
            yield _unreachable(source, repo, source.revision, error)
        else:
            yield _target(source, model, f"hub:{repo}@{source.revision}")


def list_again(target: Target) -> Target:
    """See `SourceModule.list_again`. A commit does not change: the same target."""
    return target


def _listed(client: HubClient, source: Source, query: Query) -> Iterator[Target]:
    try:
        for model in query_models(client, _query(query)):
            yield _target(source, model, f"query:{model.id}")
    except SourceError as error:  # what was listed before is swept; the rest is a row
        asked = query.model_dump(exclude_defaults=True)
        name = " ".join(f"{key}={value}" for key, value in asked.items()) or "all"
        yield _unreachable(source, f"query {name}", "list", error)


def _in_the_cache(source: Source) -> Iterator[Target]:
    """Without a network: what the cache of the Hub's own client holds."""
    repo = source.hub or ""
    asked = source.revisions or source.revision
    try:
        if source.query is not None:
            raise SourceError(
                "a query: HF_HUB_OFFLINE is set, and a cache answers none; wanted `path`, the cache's folder, "
                "or `hub`"
            )
        models = cached_models(repo, asked)
    except SourceError as error:
        what = repo if source.query is None else "query"
        yield _unreachable(source, what, asked, error)
        return
    for name, snapshot in models:
        step = _step(source, name) if source.revisions is not None else None
        label = f"cache:{repo}@{name}"
        yield target_of_snapshot(snapshot, source=label, step=step, family=source.family)


def _step(source: Source, name: str) -> int | None:
    """The training step in the name of a branch or tag."""
    pattern = re.compile(source.step_pattern or STEP_PATTERN, re.IGNORECASE)
    match = pattern.search(name)
    return int(match[1]) if match and (match[1] or "").isdigit() else None


def _trajectory(client: HubClient, source: Source, repo: str, glob: str) -> Iterator[Target]:
    try:
        revisions = list_revisions(client, repo, glob)
        head = resolve_model(client, repo, revisions[0].sha)
    except SourceError as error:
        yield _unreachable(source, repo, glob, error)
        return
    for revision in revisions:
        step = _step(source, revision.name)
        yield _target(source, head, f"hub:{repo}@{revision.name}", sha=revision.sha, step=step)


def _target(
    source: Source, model: HubModel, label: str, *, sha: str | None = None, step: int | None = None
) -> Target:
    commit = sha or model.sha
    return Target(
        model_id=model.id,
        revision=commit,
        location=HubLocation(model.id, commit, source.endpoint),
        source=label,
        step=step,
        family=source.family,
        origin=Origin(KIND, f"{model.id}@{commit}", model.id),
        nbytes=_nbytes(model),
        num_params=model.num_params,
        metadata=HubMetadata(
            author=model.author or (model.id.split("/")[0] if "/" in model.id else None),
            library=model.library,
            pipeline_tag=model.pipeline_tag,
            architecture=model.architecture,
            licence=model.license,
            downloads=model.downloads,
            likes=model.likes,
            base_model=model.base_model,
            last_modified=_time(model.last_modified),
            base_models=model.base_models,
        ),
    )


def _nbytes(model: HubModel) -> int:
    """What the weights may weigh; all revisions together for files whose headers the Hub does not read."""
    if model.num_params is not None:
        return model.num_params * _BYTES_PER_PARAM
    return model.num_bytes or 0


def _unreachable(source: Source, repo: str, revision: str, error: SourceError) -> Target:
    """The failure needs a key of its own: no commit is known."""
    stand_in = hashlib.blake2b(f"unresolved {repo}@{revision}".encode(), digest_size=20).hexdigest()
    return Target(
        model_id=repo,
        revision=stand_in,
        location=None,
        source=f"hub:{repo}@{revision}",
        family=source.family,
        origin=Origin(KIND, f"{repo}@{revision}", repo),
        failure=failure_of(error),
    )


def _query(query: Query) -> ModelQuery:
    return ModelQuery(
        author=query.author,
        search=query.search,
        tags=query.tags,
        pipeline_tag=query.pipeline,
        sort=query.sort,
        limit=query.limit,
        min_params=query.min_params,
        max_params=query.max_params,
    )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
