"""Commits to a served folder: repositories made, files added and deleted, as the Hub's own client asks for it.

A commit is whole or not at all: its files are written aside first, then renamed one after the other. Every file
travels inside the commit (the Hub's `regular` mode); LFS and Xet are not spoken. Knows nothing of sockets.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import NotFoundError
from zoo.loopback.replies import Reply, Request, error_reply, json_reply
from zoo.loopback.shelf import Shelf

COMMIT_BYTES = 2**30
"""A longer commit is refused."""
_PART = re.compile(r"[^/\x00-\x1f\x7f\\]{1,255}")
"""A piece of a path in a repository."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit does to one file."""

    path: str
    """In the repository."""
    content: bytes | None
    """None: the file, or the folder with everything in it, is deleted."""


class BadCommit(ValueError):
    """A commit that cannot be made; the message is for the client."""


class Uploads:
    """Takes commits into the repositories of one shelf. Safe to call from several threads."""

    def __init__(self, shelf: Shelf, *, may_write: Callable[[str | None, str], bool]) -> None:
        """`may_write`: token and repository id -> whether it may be changed."""
        self._shelf = shelf
        self._may_write = may_write
        self._lock = threading.Lock()

    def create(self, request: Request, repo_id: str, url: str) -> Reply:
        """A new, empty repository; 409 where there is one of that id."""
        if not self._may_write(request.token, repo_id):
            return error_reply(403, f"You may not write to {repo_id}.")
        try:
            self._shelf.repo(repo_id)
        except NotFoundError:
            parts = repo_id.split("/")
            if not 1 <= len(parts) <= 2 or not all(map(_is_plain, parts)):
                return error_reply(400, "wanted a repository id such as owner/name")
            folder = self._shelf.root.joinpath(*parts, ".hub")
            folder.mkdir(parents=True, exist_ok=True)
            return json_reply({"url": url, "name": repo_id})
        taken = json.dumps({"error": "You already created this repo", "url": url}).encode()
        return Reply(409, {"Content-Type": "application/json; charset=utf-8"}, taken)

    def modes(self, request: Request) -> Reply:
        """How each file is to be sent: always inside the commit."""
        try:
            names = [str(file["path"]) for file in json.loads(request.body)["files"]]
        except (ValueError, KeyError, TypeError):
            return error_reply(400, "wanted {files: [{path, sample, size}]}")
        told = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
        return json_reply({"files": told})

    def commit(self, request: Request, repo_id: str, revision: str, url: str) -> Reply:
        """Make the changes of a commit on a branch; its sha and address."""
        if not self._may_write(request.token, repo_id):
            return error_reply(403, f"You may not write to {repo_id}.")
        try:
            changes = parse_commit(request.body)
        except BadCommit as error:
            return error_reply(400, str(error))
        if revision != "main":
            return error_reply(400, f"commits go to main here, got {revision!r}")
        with self._lock:
            self._shelf.repo(repo_id)  # NotFoundError
            self._apply(self._shelf.root.joinpath(*repo_id.split("/")), changes)
            sha = self._shelf.repo(repo_id).tree("main").sha()
        return json_reply(
            {
                "success": True,
                "commitOid": sha,
                "commitUrl": f"{url}/commit/{sha}",
                "hookOutput": "",
            }
        )

    def _apply(self, root: Path, changes: list[Change]) -> None:
        aside = root / ".hub" / f"incoming-{secrets.token_hex(8)}"
        aside.mkdir(parents=True)
        try:
            for number, change in enumerate(changes):
                if change.content is not None:
                    (aside / str(number)).write_bytes(change.content)
            for number, change in enumerate(changes):
                target = root.joinpath(*change.path.strip("/").split("/"))
                if not target.resolve().is_relative_to(root.resolve()):
                    raise NotFoundError(f"{change.path} leads out of the repository")
                if change.content is None:
                    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(aside / str(number), target)
        finally:
            shutil.rmtree(aside)


def parse_commit(body: bytes) -> list[Change]:
    """The changes in the lines of a commit. BadCommit where one is unknown, or its path is not plain."""
    changes: list[Change] = []
    for line in filter(None, body.split(b"\n")):
        try:
            item = json.loads(line)
            kind, value = item["key"], item["value"]
            if kind == "header":
                continue
            path = str(value["path"])
            content = base64.b64decode(value["content"], validate=True) if kind == "file" else None
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise BadCommit("wanted a line of JSON with key and value") from error
        if kind not in ("file", "deletedFile", "deletedFolder"):
            raise BadCommit(f"{kind!r:.40} is not taken here; files travel inside the commit")
        if not all(map(_is_plain, path.strip("/").split("/"))):
            raise BadCommit(f"{path!r:.200} is no path for a file of a repository")
        changes.append(Change(path, content))
    return changes


def _is_plain(piece: str) -> bool:
    """A piece of a path that names a visible file: hidden ones hold what the Hub knows besides."""
    return bool(_PART.fullmatch(piece)) and not piece.startswith(".")
