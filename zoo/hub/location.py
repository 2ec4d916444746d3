"""Where a model on the Hub is: a small picklable value, without a token.

The Hub client takes long to import, so it is imported when a location is opened and not before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import UseError

if TYPE_CHECKING:
    from zoo.hub.hub_file import RemoteMeta
    from zoo.hub.repository import HubStore

_SHA = re.compile(r"[0-9a-f]{40}")
"""A commit."""
_REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
"""What may be the id of a repository."""


@dataclass(frozen=True, slots=True)
class HubLocation:
    """One repository at one commit."""

    repo_id: str
    """`owner/name`, or `name` alone for the oldest repositories."""
    sha: str
    """Commit, 40 hex digits: a branch would move while it is read."""
    endpoint: str | None = None
    """Address of the Hub; None: HF_ENDPOINT, else the public one."""
    listed: tuple[RemoteMeta, ...] | None = None
    """The files of the commit, where they were listed before: a commit does not change."""

    def __post_init__(self) -> None:
        checked_repo_id(self.repo_id)
        if not _SHA.fullmatch(self.sha):
            raise UseError(
                f"{self.repo_id}: got revision {self.sha!r}, wanted a commit of 40 hex digits; "
                "resolve the revision first"
            )

    def open(self) -> HubStore:
        """See `zoo.io.store.Location.open`. The client is this process's (`zoo.hub.session`)."""
        from zoo.hub.repository import HubStore
        from zoo.hub.session import process_client

        client = process_client(self.endpoint)
        return HubStore(self.repo_id, self.sha, client, endpoint=self.endpoint, listed=self.listed)


def checked_repo_id(repo_id: str) -> str:
    """`repo_id` if it can be one, else UseError."""
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        raise UseError(f"got {repo_id[:200]!r}, wanted a Hub repository such as `owner/name`")
    return repo_id
