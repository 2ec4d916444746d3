"""Without a network: `HF_HUB_OFFLINE=1` reads the cache of the Hub's own client, at HF_HOME or HF_HUB_CACHE."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from huggingface_hub import constants

from zoo.errors import NotFoundError
from zoo.hub.location import checked_repo_id
from zoo.io.hub_cache import Snapshot, cached_revisions, named_revisions

_MAX_NAMED: Final = 5
"""Revisions that a message lists."""


def is_offline() -> bool:
    """True where HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set."""
    return constants.is_offline_mode()


def cache_folder() -> Path:
    """HF_HUB_CACHE, else `hub` in HF_HOME, else the client's default."""
    return Path(constants.HF_HUB_CACHE)


def is_cached(repo_id: str, revision: str) -> bool:
    """True when the cache holds the repository at that branch, tag or commit."""
    return bool(cached_revisions(cache_folder(), repo_id, revision))


def cached_models(repo_id: str, pattern: str) -> tuple[tuple[str, Snapshot], ...]:
    """(name, snapshot) of a commit, or of each branch or tag that fits the glob, from the cache.

    NotFoundError when it holds none.
    """
    checked_repo_id(repo_id)
    cache = cache_folder()
    revisions = cached_revisions(cache, repo_id, pattern)
    if revisions:
        return revisions
    others = named_revisions(cache, repo_id) or ("no revision of it",)
    listed = f"{', '.join(others[:_MAX_NAMED])}{', ...' if len(others) > _MAX_NAMED else ''}"
    raise NotFoundError(
        f"{repo_id}@{pattern}: HF_HUB_OFFLINE is set, and it is not in the cache at {cache}, which has {listed}; "
        f"unset HF_HUB_OFFLINE, or fetch it where there is a network: hf download {repo_id}"
    )
