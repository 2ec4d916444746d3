"""A release to where others can have it: a dataset or Space on the Hub, a folder, or any URL that fsspec knows.

A place that holds something else is left alone. Files of an earlier release that the new one lacks are deleted; the
manifest is written last, so that a release that was cut off is seen to be one.
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.files.folder import Folder
from jobs.publish.release import MANIFEST, Kind
from zoo.errors import SourceError, UseError
from zoo.hub.client import default_endpoint, env_token

_HUB = re.compile(r"hf://(?P<kind>datasets|spaces)/(?P<id>[\w.-]+/[\w.-]+)/?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release goes."""

    text: str
    """As it was written."""
    kind: Kind
    repo_id: str | None
    """On the Hub; None elsewhere."""


def parse_place(text: str) -> Place:
    """`hf://datasets/OWNER/NAME`, `hf://spaces/OWNER/NAME`, a folder, or a URL. UseError for another hf://."""
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None:
            raise UseError(
                f"got {text!r}; wanted hf://datasets/OWNER/NAME or hf://spaces/OWNER/NAME"
            )
        return Place(text, "dataset" if match["kind"] == "datasets" else "space", match["id"])
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not Path(text).parent.exists():
        raise UseError(f"got {text!r}; on the Hub: hf://datasets/{text}; a folder here: ./{text}")
    return Place(text, "dataset", None)


def send(
    root: Path, manifest: dict[str, Any], place: Place, *, private: bool, say: Callable[[str], None]
) -> str:
    """Send the release in `root`; where it can be seen. UseError where the place holds something else."""
    if place.repo_id is not None:
        return _to_hub(root, manifest, place, private=private)
    return _to_folder(root, manifest, Folder.parse(place.text), say)


def _to_hub(root: Path, manifest: dict[str, Any], place: Place, *, private: bool) -> str:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=default_endpoint(), token=env_token() or False)
    repo_id = str(place.repo_id)
    try:
        url = api.create_repo(
            repo_id,
            repo_type=place.kind,
            private=private or None,
            exist_ok=True,
            space_sdk="static" if place.kind == "space" else None,
        )
        there = api.list_repo_files(repo_id, repo_type=place.kind)
        old: bytes | None = None
        if MANIFEST in there:
            with tempfile.TemporaryDirectory() as cache:
                path = api.hf_hub_download(repo_id, MANIFEST, repo_type=place.kind, cache_dir=cache)
                old = Path(path).read_bytes()
        gone = _gone(old, manifest, there, place.text)
        with warnings.catch_warnings():
            # tables beside the pages of a Space are meant to be there
            warnings.filterwarnings("ignore", ".*about to commit a data file", UserWarning)
            info = api.upload_folder(
                repo_id=repo_id,
                folder_path=root,
                repo_type=place.kind,
                commit_message=f"Release of {manifest['catalog']['models']} models",
                delete_patterns=[_literal(name) for name in gone] or None,
            )
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise SourceError(
            f"{place.text}: {str(error).splitlines()[0]}; publishing needs a token that may write there, "
            "in HF_TOKEN"
        ) from error
    return f"{url} (commit {info.oid[:12]})"


def _to_folder(
    root: Path, manifest: dict[str, Any], folder: Folder, say: Callable[[str], None]
) -> str:
    there = [*folder.names(), *folder.folders()]
    old = folder.read(MANIFEST) if MANIFEST in there else None
    gone = _gone(old, manifest, there, folder.root)
    known = {} if old is None else {f["path"]: f["sha256"] for f in json.loads(old)["files"]}
    changed = [f["path"] for f in manifest["files"] if known.get(f["path"]) != f["sha256"]]
    for path in changed:
        folder.put((root / path).read_bytes(), *path.split("/"))
    for path in gone:
        folder.delete(*path.split("/"))
    folder.put((root / MANIFEST).read_bytes(), MANIFEST)
    say(f"{len(changed):,} files written, {len(gone):,} deleted")
    return folder.root


def _gone(
    old: bytes | None, manifest: dict[str, Any], there: Iterable[str], place: str
) -> list[str]:
    """Files of the release that is there which the new one lacks. UseError where something else is there."""
    usual = {".gitattributes", "README.md", "_tmp"}
    if old is None:
        others = [name for name in there if name not in usual]
        if others:
            raise UseError(
                f"{place} holds something else ({others[0]}, ... and no {MANIFEST}); give an empty place or one that "
                "a release was published to"
            )
        return []
    try:
        paths = {str(file["path"]) for file in json.loads(old)["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UseError(
            f"{place}: its {MANIFEST} cannot be read ({error}); delete it there"
        ) from error
    return sorted(
        path
        for path in paths - {file["path"] for file in manifest["files"]}
        if not path.startswith("/") and ".." not in path.split("/")
    )


def _literal(name: str) -> str:
    """`name` as a glob that fits it alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)
