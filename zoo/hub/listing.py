"""What the Hub says of models: one pinned to a commit, many by a query, revisions by a glob.

A query costs one request per page of up to 1,000 models, not one per model; the commit of each
comes with the page, so that a nightly can tell what has changed without asking again. Everything
the Hub sends is checked field by field; an odd field becomes None, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from zoo.card import Card, Evaluation, card_from_metadata
from zoo.errors import NotFoundError, SourceError, UseError
from zoo.hub.client import HubClient
from zoo.hub.location import checked_repo_id

PAGE = 1000
"""Models asked for in one page; the Hub's own maximum."""
MAX_TEXT = 500
_SHA = re.compile(r"[0-9a-f]{40}")
_SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "last_modified": "lastModified",
    "lastModified": "lastModified",
    "created_at": "createdAt",
    "createdAt": "createdAt",
    "trending_score": "trendingScore",
    "trendingScore": "trendingScore",
}
_EXPAND = (
    "author",
    "baseModels",
    "config",
    "createdAt",
    "disabled",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "tags",
    "usedStorage",
)


@dataclass(frozen=True, slots=True)
class HubModel:
    """One model as the Hub describes it at one moment."""

    id: str
    """Repository id."""
    sha: str
    """Commit, 40 hex digits."""
    author: str | None
    gated: str | None
    """`auto` or `manual`; None: open."""
    downloads: int | None
    """Over the last 30 days."""
    likes: int | None
    library: str | None
    pipeline_tag: str | None
    architecture: str | None
    """First of `config.json`'s architectures."""
    license: str | None
    base_models: tuple[str, ...]
    tags: tuple[str, ...]
    created_at: str | None
    """ISO time, as sent."""
    last_modified: str | None
    """ISO time, as sent."""
    num_params: int | None
    """From the safetensors headers, counted by the Hub."""
    num_bytes: int | None
    """Storage of the whole repository, all revisions."""
    card: Card
    """Empty when the listing did not bring it."""

    @property
    def base_model(self) -> str | None:
        """The first base model, or None."""
        return self.base_models[0] if self.base_models else None

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Results of the card; empty in listings."""
        return self.card.evaluations


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """Which models of the Hub; None leaves a condition out."""

    author: str | None = None
    search: str | None = None
    """Part of the id."""
    tags: tuple[str, ...] = ()
    """All of them."""
    pipeline_tag: str | None = None
    library: str | None = None
    sort: str | None = None
    """`downloads`, `likes`, `last_modified`, `created_at` or `trending_score`; highest first."""
    limit: int | None = None
    """At most so many models."""
    min_params: int | None = None
    max_params: int | None = None
    gated: bool | None = None
    """True: only gated ones; False: only open ones."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A branch or tag and the commit it names."""

    name: str
    sha: str


def resolve_model(client: HubClient, repo_id: str, revision: str = "main") -> HubModel:
    """The model at a branch, tag or commit, with its commit and card; one request.

    NotFoundError, GatedError or TransientError, as the Hub answers.
    """
    checked_repo_id(repo_id)
    what = f"{repo_id}@{revision}"
    said = client.get_json(client.model_url(repo_id, "revision", revision), what=what)
    model = parse_model(said)
    if model is None:
        raise SourceError(f"{what}: the Hub's answer has no id and commit")
    if _SHA.fullmatch(revision) and model.sha != revision:
        raise SourceError(f"{what}: the Hub answers for commit {model.sha}")
    return model


def query_models(client: HubClient, query: ModelQuery) -> Iterator[HubModel]:
    """The models a query finds, page by page as they are taken. UseError for a wrong sort."""
    params = _params(query)
    left = query.limit if query.limit is not None else -1
    seen: set[str] = set()  # models move between pages when the order changes meanwhile
    if left == 0:
        return
    for page in client.pages(client.api_url("models"), params, what="list of models"):
        for row in page:
            model = parse_model(row)
            if model is None or model.id in seen or not _in_range(model, query):
                continue
            seen.add(model.id)
            yield model
            left -= 1
            if left == 0:
                return


def list_revisions(client: HubClient, repo_id: str, pattern: str = "*") -> tuple[Revision, ...]:
    """Branches and tags whose name fits the glob, in natural order (`step9` before `step10`).

    A name that is both branch and tag is taken as the branch. NotFoundError when none fits.
    """
    checked_repo_id(repo_id)
    said = client.get_json(client.model_url(repo_id, "refs"), what=f"revisions of {repo_id}")
    found: dict[str, str] = {}
    for kind in ("branches", "tags"):
        for ref in _list(_get(said, kind)):
            name, sha = _get(ref, "name"), _get(ref, "targetCommit")
            if isinstance(name, str) and isinstance(sha, str) and _SHA.fullmatch(sha):
                found.setdefault(name, sha)
    fitting = [Revision(n, s) for n, s in found.items() if fnmatchcase(n, pattern)]
    if not fitting:
        some = ", ".join(sorted(found, key=_natural)[:8]) or "none"
        raise NotFoundError(f"{repo_id} has no revision like {pattern!r}; it has: {some}")
    return tuple(sorted(fitting, key=lambda r: _natural(r.name)))


def parse_model(said: object) -> HubModel | None:
    """One model of the API's JSON; None when it lacks a usable id or commit."""
    repo_id, sha = _get(said, "id"), _get(said, "sha")
    if not isinstance(repo_id, str) or not isinstance(sha, str) or not _SHA.fullmatch(sha):
        return None
    try:
        checked_repo_id(repo_id)
    except UseError:
        return None
    tags = tuple(t for t in _list(_get(said, "tags")) if isinstance(t, str) and len(t) <= MAX_TEXT)
    card = card_from_metadata(_get(said, "cardData"))
    index = card_from_metadata({"model-index": _get(said, "model-index")})
    if index.evaluations and not card.evaluations:
        card = Card(
            index.evaluations,
            card.base_models,
            card.license,
            card.library,
            card.pipeline_tag,
            card.tags,
            card.problems,
        )
    gated = _get(said, "gated")
    licenses = [t.removeprefix("license:") for t in tags if t.startswith("license:")]
    return HubModel(
        id=repo_id,
        sha=sha,
        author=_text(_get(said, "author")),
        gated="manual" if gated is True else _text(gated),
        downloads=_count(_get(said, "downloads")),
        likes=_count(_get(said, "likes")),
        library=_text(_get(said, "library_name")) or card.library,
        pipeline_tag=_text(_get(said, "pipeline_tag")) or card.pipeline_tag,
        architecture=_first_text(_get(_get(said, "config"), "architectures")),
        license=card.license or (licenses[0] if licenses else None),
        base_models=card.base_models or _base_models(tags),
        tags=tags,
        created_at=_text(_get(said, "createdAt")),
        last_modified=_text(_get(said, "lastModified")),
        num_params=_count(_get(_get(said, "safetensors"), "total")),
        num_bytes=_count(_get(said, "usedStorage")),
        card=card,
    )


def _params(query: ModelQuery) -> list[tuple[str, str]]:
    params = [("expand", field) for field in _EXPAND]
    params += [("filter", tag) for tag in (*query.tags, *filter(None, [query.library]))]
    for key, value in (
        ("author", query.author),
        ("search", query.search),
        ("pipeline_tag", query.pipeline_tag),
        ("gated", None if query.gated is None else str(query.gated).lower()),
        ("num_parameters", _num_parameters(query)),
    ):
        if value:
            params.append((key, value))
    if query.sort is not None:
        if query.sort not in _SORTS:
            raise UseError(f"got sort {query.sort!r}, wanted one of {', '.join(_SORTS)}")
        params.append(("sort", _SORTS[query.sort]))
    page = PAGE if query.limit is None else min(query.limit, PAGE)
    return [*params, ("limit", str(page))]


def _num_parameters(query: ModelQuery) -> str:
    bounds = (("min", query.min_params), ("max", query.max_params))
    return ",".join(f"{side}:{_with_unit(n)}" for side, n in bounds if n is not None)


def _with_unit(number: int) -> str:
    """7000000000 -> 7B: the form the Hub's own client documents."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{name}"
    return str(number)


def _in_range(model: HubModel, query: ModelQuery) -> bool:
    """The Hub rounds; hold what it sent against the exact bounds where the number is known."""
    num = model.num_params
    if num is None:
        return True
    below = query.min_params is not None and num < query.min_params
    return not below and not (query.max_params is not None and num > query.max_params)


def _base_models(tags: tuple[str, ...]) -> tuple[str, ...]:
    """`base_model:a/b` and `base_model:finetune:a/b` both name `a/b`."""
    named = (t.rsplit(":", 1)[-1] for t in tags if t.startswith("base_model:"))
    return tuple(dict.fromkeys(name for name in named if name))


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.findall(r"\d{1,18}|\D+", name)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pieces)


def _get(node: object, key: str) -> object:
    return node.get(key) if isinstance(node, dict) else None


def _list(node: object) -> list[object]:
    return node if isinstance(node, list) else []


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def _first_text(value: object) -> str | None:
    return next((t for t in map(_text, _list(value)) if t), None)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**62 else None
