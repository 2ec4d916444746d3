"""The Hub's endpoints over a `Shelf`: a `Request` in, a `Reply` out.

Knows nothing of sockets, faults of the line or rate limits; those are `server.py`'s.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import sha1, sha256
from urllib.parse import parse_qs, quote, urlencode

from zoo.errors import ChangedError, NotFoundError, UnsafeError
from zoo.loopback.describe import Json, describe, entry, read_json, safetensors_header, sibling
from zoo.loopback.faults import Fault
from zoo.loopback.model_list import list_models
from zoo.loopback.replies import (
    BadRange,
    FilePart,
    Reply,
    Request,
    error_reply,
    json_reply,
    parse_range,
)
from zoo.loopback.shelf import Repo, Shelf, Tree
from zoo.loopback.uploads import Uploads

_ACTIONS = frozenset({"revision", "tree", "refs", "paths-info", "safetensors-metadata"})
"""What can be asked of one repository, by the word after its id."""
_RESOLVERS = frozenset({"resolve", "raw"})
"""The word after a repository's id in the address of a file."""
KINDS_OF_REPOS = {"datasets": ".datasets", "spaces": ".spaces"}
"""Repositories that are no models, and the folder below the served one that holds them."""
FILES_PER_PAGE = 1000
"""Files in one page of a tree."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read what."""

    tokens: Mapping[str, tuple[str, ...]]
    """Token -> globs of the repository ids it opens."""

    def opens(self, token: str | None, repo_id: str) -> bool:
        """Whether the token reads the files of this gated or private repository."""
        return any(fnmatchcase(repo_id, glob) for glob in self.tokens.get(token or "", ()))

    def knows(self, token: str | None) -> bool:
        """Whether the token is anybody's."""
        return token in self.tokens


@dataclass(frozen=True, slots=True)
class Cdn:
    """The second origin that large files are redirected to, with links that expire."""

    base_url: str
    secret: bytes
    ttl_s: float
    signs_ranges: bool
    """Whether a link serves only the range it was asked for with."""
    clock: Callable[[], float] = time.time

    def link(self, request: Request, repo_id: str, sha: str, name: str) -> str:
        """A signed link to one file."""
        query = {"Expires": f"{self.clock() + self.ttl_s:.3f}"}
        if self.signs_ranges and "range" in request.headers:
            query["X-Xet-Signed-Range"] = request.headers["range"]
        path = "/".join(("", "lfs", repo_id, sha, name))
        query["Signature"] = self._sign(path, query)
        return f"{self.base_url}{quote(path)}?{urlencode(query)}"

    def admits(self, request: Request) -> bool:
        """Whether the link was signed here, for this range, and has not expired."""
        query = {k: v[0] for k, v in request.query.items()}
        signature = query.pop("Signature", "")
        if not hmac.compare_digest(signature.encode(), self._sign(request.path, query).encode()):
            return False
        signed = query.get("X-Xet-Signed-Range")
        in_time = self.clock() < float(query["Expires"])
        return in_time and signed in {None, request.headers.get("range")}

    def _sign(self, path: str, query: Mapping[str, str]) -> str:
        text = f"{path}?{urlencode(sorted(query.items()))}"
        return hmac.new(self.secret, text.encode(), sha256).hexdigest()


class Routes:
    """The answers of one served folder. Safe to call from several threads."""

    def __init__(
        self,
        shelf: Shelf,
        access: Access,
        cdn: Cdn | None,
        *,
        page_size: int,
        fresh_s: float,
        writable: bool = False,
    ) -> None:
        """`writable`: whoever has a token that opens a repository may commit to it."""
        self._shelf = shelf
        self._uploads = Uploads(shelf, may_write=access.opens) if writable else None
        self._others: dict[str, Routes] = {}
        if writable:
            for kind, folder in KINDS_OF_REPOS.items():
                place = shelf.root / folder
                place.mkdir(exist_ok=True)
                self._others[kind] = Routes(
                    Shelf(place), access, None, page_size=page_size, fresh_s=fresh_s
                )
                self._others[kind]._uploads = Uploads(Shelf(place), may_write=access.opens)
        self._access = access
        self._cdn = cdn
        self._page_size = page_size
        self._fresh_s = fresh_s
        self._described: dict[tuple[str, str, object], Json] = {}
        self._listed: tuple[float, list[Json]] | None = None
        self._lock = threading.Lock()

    @property
    def is_writable(self) -> bool:
        """Whether commits are taken."""
        return self._uploads is not None

    def answer(self, request: Request, faults: Mapping[str, Fault]) -> Reply:
        """The reply to one request on the main origin."""
        try:
            return self._answer(request, faults)
        except NotFoundError as err:
            return error_reply(404, str(err), "RepoNotFound")
        except (UnsafeError, ChangedError, FileNotFoundError) as err:
            return error_reply(404, f"changed on disk: {type(err).__name__}", "EntryNotFound")

    def answer_cdn(self, request: Request, faults: Mapping[str, Fault]) -> Reply:
        """The reply to one request on the second origin."""
        if self._cdn is None or request.segments[:1] != ("lfs",):
            return error_reply(404, "no such object")
        if "expired" in faults or not self._cdn.admits(request):
            return error_reply(403, "Request has expired")
        rest = request.path.removeprefix("/lfs/").split("/")
        for split in (2, 1):
            repo_id, tail = "/".join(rest[:split]), rest[split:]
            try:
                tree = self._shelf.repo(repo_id).tree(tail[0])
                return self._file(request, tree, "/".join(tail[1:]), {}, faults)
            except (NotFoundError, KeyError, IndexError):
                continue
        return error_reply(404, "no such object")

    def _answer(self, request: Request, faults: Mapping[str, Fault]) -> Reply:
        segments = request.segments
        if segments[:1] == ("api",) and segments[1:2] and segments[1] in self._others:
            return self._answer_other(
                request, segments[1], ("api", "models", *segments[2:]), faults
            )
        if segments[0] in self._others and _RESOLVERS & set(segments):
            return self._answer_other(request, segments[0], segments[1:], faults)
        if request.method == "POST" and self._uploads is not None:
            taken = self._take(request, self._uploads)
            if taken is not None:
                return taken
        if segments[:2] == ("api", "models"):
            return (
                self._api(request, segments[2:], faults)
                if len(segments) > 2
                else self._list(request)
            )
        if segments == ("api", "whoami-v2"):
            return self._whoami(request)
        for split in (1, 2):
            if len(segments) > split + 2 and segments[split] in _RESOLVERS:
                repo_id, name = "/".join(segments[:split]), "/".join(segments[split + 2 :])
                return self._resolve(request, repo_id, segments[split + 1], name, faults)
        return error_reply(404, "no such page")

    def _answer_other(
        self, request: Request, kind: str, segments: tuple[str, ...], faults: Mapping[str, Fault]
    ) -> Reply:
        """Datasets and Spaces are answered as models are, from folders of their own."""
        reply = self._others[kind]._answer(replace(request, segments=segments), faults)
        link = reply.headers.get("Link", "").replace("/api/models/", f"/api/{kind}/")
        return replace(reply, headers={**reply.headers, "Link": link}) if link else reply

    def _take(self, request: Request, uploads: Uploads) -> Reply | None:
        """The reply to what a client asks for when it uploads; None when it asks for something else."""
        segments = request.segments
        if segments == ("api", "validate-yaml"):
            return json_reply({"errors": [], "warnings": []})
        if segments == ("api", "repos", "create"):
            try:
                body = json.loads(request.body)
                owner = body.get("organization") or "loopback"
                repo_id, kind = f"{owner}/{body['name']}", f"{body.get('type') or 'model'}s"
            except (ValueError, KeyError, TypeError, AttributeError):
                return error_reply(400, "wanted {name, organization, type}")
            prefix = "" if kind == "models" else f"/{kind}"
            url = f"{request.base_url}{prefix}/{repo_id}"
            if kind in self._others:
                return self._others[kind]._make(request, repo_id, url)
            return self._make(request, repo_id, url)
        if segments[:2] == ("api", "models") and len(segments) in (5, 6):
            *name, action, revision = segments[2:]
            repo_id = "/".join(name)
            if action == "preupload":
                return uploads.modes(request)
            if action == "commit":
                # the address as the client wrote it says which kind of repository it is
                kind = request.path.split("/")[2]
                prefix = "" if kind == "models" else f"/{kind}"
                return uploads.commit(
                    request, repo_id, revision, f"{request.base_url}{prefix}/{repo_id}"
                )
        return None

    def _make(self, request: Request, repo_id: str, url: str) -> Reply:
        if self._uploads is None:
            return error_reply(403, "nothing can be written here")
        return self._uploads.create(request, repo_id, url)

    def _whoami(self, request: Request) -> Reply:
        if not self._access.knows(request.token):
            return error_reply(401, "Invalid username or password.")
        role = {"accessToken": {"displayName": "loopback", "role": "read"}}
        return json_reply({"type": "user", "name": "loopback", "auth": role, "orgs": []})

    def _list(self, request: Request) -> Reply:
        with self._lock:
            # later pages show the listing their first page was cut from
            is_first = request.first("cursor") is None
            age = float("inf") if self._listed is None else time.monotonic() - self._listed[0]
            if self._listed is None or (is_first and age > self._fresh_s):
                rows = [*map(self._listing_row, self._shelf.ids())]
                self._listed = (time.monotonic(), rows)
            models = self._listed[1]
        visible = [
            m for m in models if not m["private"] or self._access.opens(request.token, m["id"])
        ]
        return list_models(request, visible, page_size=self._page_size)

    def _listing_row(self, repo_id: str) -> Json:
        repo = self._shelf.repo(repo_id)
        return self._describe(repo, repo.tree("main"))

    def _describe(self, repo: Repo, tree: Tree) -> Json:
        newest = max((b.mtime_ns for b in tree.files.values()), default=0)
        key = (repo.id, tree.sha(), (repo.settings, newest))
        if key not in self._described:
            self._described[key] = describe(repo, tree)
        return self._described[key]

    def _open_repo(self, request: Request, repo_id: str, faults: Mapping[str, Fault]) -> Repo:
        """The repository; one that the caller may not see is as good as missing."""
        repo = self._shelf.repo(repo_id)
        hidden = repo.settings.private and not self._access.opens(request.token, repo_id)
        if hidden or "missing" in faults:
            raise NotFoundError("Repository not found")
        return repo

    def _api(
        self, request: Request, segments: tuple[str, ...], faults: Mapping[str, Fault]
    ) -> Reply:
        split = 1 if len(segments) == 1 or segments[1] in _ACTIONS else 2
        repo = self._open_repo(request, "/".join(segments[:split]), faults)
        if repo.settings.disabled or "disabled" in faults:
            return error_reply(403, "Access to this resource is disabled.")
        action, rest = (
            (segments[split], segments[split + 1 :]) if len(segments) > split else ("revision", ())
        )
        if action == "refs":
            return json_reply(_refs(repo))
        try:
            tree = repo.tree(rest[0] if rest and action != "safetensors-metadata" else "main")
        except NotFoundError as err:
            return error_reply(404, str(err), "RevisionNotFound")
        if action == "revision":
            return self._info(request, repo, tree, faults)
        if action == "tree":
            return _tree_page(request, tree, "/".join(rest[1:]))
        if action == "paths-info":
            names = _posted_paths(request)
            return json_reply([entry(tree, n) for n in names if n in tree.files])
        return _safetensors_metadata(tree, "/".join(rest) or "model.safetensors.index.json")

    def _info(self, request: Request, repo: Repo, tree: Tree, faults: Mapping[str, Fault]) -> Reply:
        shown = dict(self._describe(repo, tree))
        if request.first("blobs"):
            shown["siblings"] = [sibling(tree, name) for name in tree.files]
        if "changed_sha" in faults:
            shown["sha"] = sha1(shown["sha"].encode(), usedforsecurity=False).hexdigest()
        return json_reply(shown)

    def _resolve(
        self,
        request: Request,
        repo_id: str,
        revision: str,
        name: str,
        faults: Mapping[str, Fault],
    ) -> Reply:
        repo = self._open_repo(request, repo_id, faults)
        if repo.settings.disabled or "disabled" in faults:
            return error_reply(403, "Access to this resource is disabled.")
        if "gated" in faults or repo.settings.gated:
            if not self._access.knows(request.token):
                return error_reply(401, f"Access to model {repo_id} is restricted.", "GatedRepo")
            if not self._access.opens(request.token, repo_id):
                return error_reply(403, f"You have no access to {repo_id}.", "GatedRepo")
        try:
            tree = repo.tree(revision)
        except NotFoundError as err:
            return error_reply(404, str(err), "RevisionNotFound")
        sha = tree.sha()
        if "changed_sha" in faults:
            sha = sha1(sha.encode(), usedforsecurity=False).hexdigest()
        commit = {"X-Repo-Commit": sha}
        if name not in tree.files:
            return error_reply(404, "Entry not found", "EntryNotFound", commit)
        headers = {**commit, "ETag": f'"{_etag(tree, name, faults)}"', "Accept-Ranges": "bytes"}
        if self._cdn is not None and (tree.is_lfs(name) or "redirect" in faults):
            linked = {"X-Linked-Size": str(tree.files[name].size), "X-Linked-ETag": headers["ETag"]}
            location = {"Location": self._cdn.link(request, repo_id, tree.sha(), name)}
            return Reply(302, {**headers, **linked, **location})
        return self._file(request, tree, name, headers, faults)

    def _file(
        self,
        request: Request,
        tree: Tree,
        name: str,
        headers: Mapping[str, str],
        faults: Mapping[str, Fault],
    ) -> Reply:
        blob = tree.files[name]
        etag = f'"{_etag(tree, name, faults)}"'
        all_headers = {"ETag": etag, "Accept-Ranges": "bytes", **headers}
        all_headers["Content-Type"] = "application/octet-stream"
        wanted = parse_range(request.headers.get("range"), blob.size)
        if_range = request.headers.get("if-range")
        if "ignore_range" in faults or (if_range and if_range != all_headers["ETag"]):
            wanted = None
        if isinstance(wanted, BadRange):
            return Reply(416, {**all_headers, "Content-Range": f"bytes */{blob.size}"})
        if wanted is None:
            return Reply(200, all_headers, FilePart(blob, 0, blob.size))
        start, length = wanted
        all_headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{blob.size}"
        return Reply(206, all_headers, FilePart(blob, start, length))


def _etag(tree: Tree, name: str, faults: Mapping[str, Fault]) -> str:
    etag = tree.etag(name)
    return sha256(etag.encode()).hexdigest() if "changed_etag" in faults else etag


def _refs(repo: Repo) -> Json:
    def rows(trees: Mapping[str, Tree], kind: str) -> list[Json]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": tree.sha()}
            for name, tree in trees.items()
        ]

    return {
        "branches": rows(repo.branches, "heads"),
        "tags": rows(repo.tags, "tags"),
        "converts": [],
        "pullRequests": [],
    }


def _tree_page(request: Request, tree: Tree, folder: str) -> Reply:
    prefix = folder.strip("/") + "/" if folder.strip("/") else ""
    names = [n for n in tree.files if n.startswith(prefix)]
    if prefix and not names:
        return error_reply(404, f"no folder {folder!r}", "EntryNotFound")
    recursive = (request.first("recursive") or "").lower() in {"true", "1"}
    folders = {prefix + n[len(prefix) :].split("/")[0] for n in names if "/" in n[len(prefix) :]}
    shown = names if recursive else [n for n in names if "/" not in n[len(prefix) :]]
    try:
        offset = int(request.first("cursor") or 0)
        page = min(max(int(request.first("limit") or FILES_PER_PAGE), 1), FILES_PER_PAGE)
    except ValueError:
        return error_reply(400, "cursor and limit have to be numbers")
    rows = [entry(tree, n) for n in shown[offset : offset + page]]
    if offset == 0 and not recursive:
        rows = [
            {"type": "directory", "path": f, "size": 0, "oid": "0" * 40} for f in folders
        ] + rows
    headers = {}
    if offset + page < len(shown):
        query = urlencode({**request.query, "cursor": [str(offset + page)]}, doseq=True)
        path = "/".join(quote(s, safe="") for s in request.segments)
        headers["Link"] = f'<{request.base_url}/{path}?{query}>; rel="next"'
    return json_reply(rows, headers)


def _posted_paths(request: Request) -> list[str]:
    if "json" in request.headers.get("content-type", ""):
        try:
            body = json.loads(request.body)
            return [str(p) for p in body["paths"]]
        except (ValueError, KeyError, TypeError):
            return []
    return parse_qs(request.body.decode("utf-8", "replace")).get("paths", [])


def _safetensors_metadata(tree: Tree, index_name: str) -> Reply:
    index = read_json(tree, index_name)
    weight_map = index.get("weight_map") if index else None
    if index is None or not isinstance(weight_map, dict):
        return error_reply(404, f"no index {index_name!r}", "EntryNotFound")
    headers = {}
    for shard in sorted({str(s) for s in weight_map.values()}):
        header = safetensors_header(tree, shard) if shard in tree.files else None
        if header is None:
            return error_reply(404, f"shard {shard!r} cannot be read", "EntryNotFound")
        headers[shard] = header
    return json_reply({"index": {"metadata": index.get("metadata", {})}, "headers": headers})
