"""A revision on disk -> the JSON the Hub's API gives for it.

Reads the card, `config.json` and safetensors headers, all bounded; what cannot be read is left
out, as the Hub does. Knows nothing of HTTP.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from zoo.card import MAX_CARD_BYTES, Card, parse_card
from zoo.loopback.shelf import Repo, Tree, iso_time

Json = dict[str, Any]
"""An object of the API's JSON."""

CONFIG_BYTES = 2**20
"""A longer config.json is left out."""
HEADER_BYTES = 100 * 2**20
"""A longer safetensors header, or index, is left out."""
POINTER_BYTES = 135
"""The size that the Hub gives for the pointer git holds in place of a large file."""
_ALWAYS = ("id", "modelId", "_id")
"""Fields that every listing shows."""
_LISTED = ("private", "downloads", "likes", "tags", "pipeline_tag", "library_name", "createdAt")
"""Fields that a listing shows when it is asked for none."""


def describe(repo: Repo, tree: Tree) -> Json:
    """Everything the API can say of one revision; callers pick the fields asked for."""
    card = Card()
    if _has_card(tree):
        card = parse_card(tree.files["README.md"].head(MAX_CARD_BYTES + 1))
    config = _config(tree)
    parameters = _parameters(tree)
    modified = max((b.mtime_ns for b in tree.files.values()), default=0)
    settings = repo.settings
    fields: Json = {
        "id": repo.id,
        "modelId": repo.id,
        "_id": repo.id,
        "author": repo.id.split("/")[0] if "/" in repo.id else None,
        "sha": tree.sha(),
        "lastModified": settings.last_modified or iso_time(modified),
        "createdAt": settings.created_at or settings.last_modified or iso_time(modified),
        "private": settings.private,
        "gated": settings.gated or False,
        "disabled": settings.disabled,
        "downloads": settings.downloads,
        "downloadsAllTime": settings.downloads,
        "likes": settings.likes,
        "trendingScore": settings.likes,
        "tags": _tags(card, config),
        "usedStorage": sum(b.size for b in tree.files.values()),
        "siblings": [{"rfilename": name} for name in tree.files],
        "cardData": _card_data(card),
        "model-index": _model_index(repo.id, card),
        "baseModels": list(card.base_models) or None,
        "library_name": card.library or ("transformers" if config.get("model_type") else None),
        "pipeline_tag": card.pipeline_tag,
        "config": config or None,
    }
    if parameters:
        fields["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    return {key: value for key, value in fields.items() if value is not None}


def pick(full: Json, expand: list[str], *, full_listing: bool) -> Json:
    """The part of `full` a listing shows: `expand` fields only, or the usual ones."""
    if expand:
        return {k: v for k, v in full.items() if k in _ALWAYS or k in expand}
    if full_listing:
        return full
    return {k: v for k, v in full.items() if k in _ALWAYS or k in _LISTED}


def entry(tree: Tree, name: str) -> Json:
    """One file as the tree and paths-info endpoints show it."""
    blob, digest = tree.files[name], tree.digest(name)
    shown: Json = {"type": "file", "path": name, "size": blob.size, "oid": digest.git_oid}
    if tree.is_lfs(name):
        shown["lfs"] = {"oid": digest.sha256, "size": blob.size, "pointerSize": POINTER_BYTES}
    return shown


def sibling(tree: Tree, name: str) -> Json:
    """One file as model_info with `blobs=true` shows it."""
    of_tree = entry(tree, name)
    shown: Json = {"rfilename": name, "size": of_tree["size"], "blobId": of_tree["oid"]}
    if "lfs" in of_tree:
        shown["lfs"] = {
            "sha256": of_tree["lfs"]["oid"],
            "size": of_tree["size"],
            "pointerSize": POINTER_BYTES,
        }
    return shown


def safetensors_header(tree: Tree, name: str) -> Json | None:
    """The JSON header of a safetensors file, or None when it has none that can be read."""
    blob = tree.files[name]
    head = blob.head(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    if not 2 <= length <= min(HEADER_BYTES, blob.size - 8):
        return None
    return _json_object(blob.head(8 + length)[8:])


def read_json(tree: Tree, name: str) -> Json | None:
    """A small JSON object in the tree, or None."""
    if name not in tree.files or tree.files[name].size > HEADER_BYTES:
        return None
    return _json_object(tree.files[name].head(tree.files[name].size))


def _json_object(raw: bytes) -> Json | None:
    """The object in `raw`; None when it holds none."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_card(tree: Tree) -> bool:
    return "README.md" in tree.files


def _config(tree: Tree) -> Json:
    blob = tree.files.get("config.json")
    if blob is None or blob.size > CONFIG_BYTES:
        return {}
    config = read_json(tree, "config.json") or {}
    shown = ("architectures", "model_type", "quantization_config")
    return {key: config[key] for key in shown if key in config}


def _parameters(tree: Tree) -> dict[str, int]:
    """Number of parameters by dtype over the safetensors files at the top of the repository."""
    counts: dict[str, int] = {}
    for name in tree.files:
        if name.endswith(".safetensors") and "/" not in name:
            for tensor, meta in (safetensors_header(tree, name) or {}).items():
                if tensor != "__metadata__":
                    number = _numel(meta)
                    if number is None:
                        return {}
                    dtype = str(meta.get("dtype"))[:16]
                    counts[dtype] = counts.get(dtype, 0) + number
    return counts


def _numel(meta: object) -> int | None:
    """Number of elements by a header's entry; None where its shape makes no sense."""
    shape = meta.get("shape") if isinstance(meta, Mapping) else None
    if not isinstance(shape, list):
        return None
    total = 1
    for side in shape:
        if not isinstance(side, int) or not 0 <= side < 2**48:
            return None
        total *= side
    return total if total < 2**60 else None


def _tags(card: Card, config: Json) -> list[str]:
    tags = [*card.tags, *(f"base_model:{base}" for base in card.base_models)]
    if card.license:
        tags.append(f"license:{card.license}")
    tags += [t for t in (card.library, card.pipeline_tag, config.get("model_type")) if t]
    return list(dict.fromkeys(str(t) for t in tags))


def _card_data(card: Card) -> Json | None:
    data: Json = {
        "license": card.license,
        "library_name": card.library,
        "pipeline_tag": card.pipeline_tag,
        "tags": list(card.tags),
        "base_model": list(card.base_models),
    }
    return {k: v for k, v in data.items() if v} or None


def _model_index(repo_id: str, card: Card) -> list[Json] | None:
    results = [
        {
            "task": {"type": e.task},
            "dataset": {"name": e.dataset, "type": e.dataset},
            "metrics": [{"type": e.metric, "value": e.value}],
        }
        for e in card.evaluations
    ]
    return [{"name": repo_id.split("/")[-1], "results": results}] if results else None
