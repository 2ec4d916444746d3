"""`GET /api/models`: filter, sort and page the repositories of a shelf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from zoo.loopback.describe import Json, pick
from zoo.loopback.replies import Reply, Request, error_reply, json_reply

_SORTS = {"downloads", "likes", "lastModified", "createdAt", "trendingScore"}
"""Fields by which a listing can be sorted, highest first."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
"""What the letter behind a number of parameters multiplies it by."""


def list_models(request: Request, models: list[Json], *, page_size: int) -> Reply:
    """One page of the listing, with a `Link` to the next one."""
    try:
        matching = [m for m in models if _matches(m, request.query)]
        offset = int(request.first("cursor") or 0)
        limit = int(request.first("limit") or page_size)
    except ValueError as err:
        return error_reply(400, f"query cannot be used: {err}")
    sort = request.first("sort")
    if sort is not None:
        if sort not in _SORTS:
            return error_reply(400, f"sort has to be one of {', '.join(sorted(_SORTS))}")
        matching.sort(key=lambda m: (m.get(sort) is not None, m.get(sort)), reverse=True)
    # the Hub reads `limit` as the length of a page; clients stop by themselves
    page = min(max(limit, 1), page_size)
    full = (request.first("full") or "").lower() in {"true", "1"}
    shown = [
        pick(m, request.query.get("expand", []), full_listing=full)
        for m in matching[offset : offset + page]
    ]
    headers = {}
    if offset + page < len(matching):
        query = {**request.query, "cursor": [str(offset + page)]}
        url = f"{request.base_url}/api/models?{urlencode(query, doseq=True)}"
        headers["Link"] = f'<{url}>; rel="next"'
    return json_reply(shown, headers)


def _matches(model: Json, query: Mapping[str, list[str]]) -> bool:
    """Whether the model meets every condition of the query. ValueError for a senseless one."""

    def one(key: str) -> str | None:
        return query[key][0] if query.get(key) else None

    if (author := one("author")) and str(model.get("author")).lower() != author.lower():
        return False
    if (search := one("search")) and search.lower() not in model["id"].lower():
        return False
    if (pipeline := one("pipeline_tag")) and model.get("pipeline_tag") != pipeline:
        return False
    if (gated := one("gated")) and bool(model.get("gated")) != (gated.lower() == "true"):
        return False
    asked = [tag for value in query.get("filter", []) for tag in value.split(",")]
    if not set(asked) <= _labels(model):
        return False
    return _in_range(model.get("safetensors", {}).get("total"), one("num_parameters"))


def _labels(model: Json) -> set[Any]:
    return {*model.get("tags", ()), model.get("library_name"), model.get("pipeline_tag")}


def _in_range(total: int | None, asked: str | None) -> bool:
    """`min:1B,max:8B`, either side optional; a model of unknown size is in no range."""
    if not asked:
        return True
    if total is None:
        return False
    for item in asked.split(","):
        match = re.fullmatch(r"(min|max):(\d+(?:\.\d+)?)([KMBT]?)", item.strip())
        if match is None:
            raise ValueError(f"num_parameters={asked!r}, expected min:1B,max:8B")
        bound = float(match[2]) * _UNITS[match[3]]
        if (match[1] == "min" and total < bound) or (match[1] == "max" and total > bound):
            return False
    return True
