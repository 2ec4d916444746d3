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

MODELS_PER_PAGE = 1000
"""Models asked for in one page; the Hub's own maximum."""
MAX_TEXT = 500
"""Characters kept of one text."""
_SHA = re.compile(r"[0-9a-f]{40}")
"""A commit."""
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
"""The Hub's word for an order, by ours and by its own."""
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
"""Fields that a listing is asked for, so that no model needs a request of its own."""


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
    """Downloads over the last 30 days."""
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
    """A model has to have all of them."""
    pipeline_tag: str | None = None
    library: str | None = None
    sort: str | None = None
    """`downloads`, `likes`, `last_modified`, `created_at` or `trending_score`; highest first."""
    limit: int | None = None
    """Most models that are listed."""
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
    answer = client.get_json(client.model_url(repo_id, "revision", revision), what=what)
    model = parse_model(answer)
    if model is None:
        raise SourceError(f"{what}: the Hub's answer has no id and commit")
    if _SHA.fullmatch(revision) and model.sha != revision:
        raise SourceError(f"{what}: the Hub answers for commit {model.sha}")
    return model


def query_models(client: HubClient, query: ModelQuery) -> Iterator[HubModel]:
    """The models a query finds, page by page as they are taken. UseError for a wrong sort."""
    params = _params(query)
    left = query.limit if query.limit is not None else -1  # below 0: no limit
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
    answer = client.get_json(client.model_url(repo_id, "refs"), what=f"revisions of {repo_id}")
    commit_of: dict[str, str] = {}
    for kind in ("branches", "tags"):
        for ref in _list(_get(answer, kind)):
            name, sha = _get(ref, "name"), _get(ref, "targetCommit")
            if isinstance(name, str) and isinstance(sha, str) and _SHA.fullmatch(sha):
                commit_of.setdefault(name, sha)
    matching = [Revision(n, s) for n, s in commit_of.items() if fnmatchcase(n, pattern)]
    if not matching:
        some = ", ".join(sorted(commit_of, key=_natural)[:8]) or "none"
        raise NotFoundError(f"{repo_id} has no revision like {pattern!r}; it has: {some}")
    return tuple(sorted(matching, key=lambda r: _natural(r.name)))


def parse_model(entry: object) -> HubModel | None:
    """One model of the API's JSON; None when it lacks a usable id or commit."""
    repo_id, sha = _get(entry, "id"), _get(entry, "sha")
    if not isinstance(repo_id, str) or not isinstance(sha, str) or not _SHA.fullmatch(sha):
        return None
    try:
        checked_repo_id(repo_id)
    except UseError:
        return None
    tags = tuple(t for t in _list(_get(entry, "tags")) if isinstance(t, str) and len(t) <= MAX_TEXT)
    card = card_from_metadata(_get(entry, "cardData"))
    index = card_from_metadata({"model-index": _get(entry, "model-index")})
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
    gated = _get(entry, "gated")
    licenses = [t.removeprefix("license:") for t in tags if t.startswith("license:")]
    return HubModel(
        id=repo_id,
        sha=sha,
        author=_text(_get(entry, "author")),
        gated="manual" if gated is True else _text(gated),
        downloads=_count(_get(entry, "downloads")),
        likes=_count(_get(entry, "likes")),
        library=_text(_get(entry, "library_name")) or card.library,
        pipeline_tag=_text(_get(entry, "pipeline_tag")) or card.pipeline_tag,
        architecture=_first_text(_get(_get(entry, "config"), "architectures")),
        license=card.license or (licenses[0] if licenses else None),
        base_models=card.base_models or _base_models(tags),
        tags=tags,
        created_at=_text(_get(entry, "createdAt")),
        last_modified=_text(_get(entry, "lastModified")),
        num_params=_count(_get(_get(entry, "safetensors"), "total")),
        num_bytes=_count(_get(entry, "usedStorage")),
        card=card,
    )


def _params(query: ModelQuery) -> list[tuple[str, str]]:
    """The query as the API wants it. UseError for a sort that it does not know."""
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
    page = MODELS_PER_PAGE if query.limit is None else min(query.limit, MODELS_PER_PAGE)
    return [*params, ("limit", str(page))]


def _num_parameters(query: ModelQuery) -> str:
    """The bounds on the size as the API wants them: `min:1B,max:8B`."""
    bounds = (("min", query.min_params), ("max", query.max_params))
    return ",".join(f"{side}:{_with_unit(n)}" for side, n in bounds if n is not None)


def _with_unit(number: int) -> str:
    """The number as the Hub's own client documents it: 7000000000 is `7B`."""
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
    """Sorting key in which numbers inside a name count as numbers."""
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
