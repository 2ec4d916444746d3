"""What makes two models measure alike: hashes of their weight files and of the settings beside them.

Two models with equal `weights_key` and equal `settings_key` give the same layers, to the last bit, under
the same options: nothing else of a model is read for a number. The names of files count, as they decide
which are read and what tensors are called; who publishes them, at which commit, under which
text, does not. Pure: knows no store; what a file holds is known by the digest its listing gives.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from zoo.io.file_sets import base_name, folder_of
from zoo.io.fingerprint import that_matter
from zoo.io.weight_files import is_index_file, is_training_state, is_weight_file, unread_kind

INERT_SETTINGS = frozenset(
    {"_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "_diffusers_version"}
)  # fmt: skip
"""Keys of config files that decide no number: they say where a model came from, and which version of a
library wrote the file. Nothing here reads them; every other key counts, read or not,
so that a key which a later decoder looks at is never one that was overlooked."""

_NUMBERED = re.compile(r"\d+[-_]of[-_]\d+")
"""Part of the name of a shard."""


def weights_key(sizes: Mapping[str, int], digests: Mapping[str, str | None]) -> str | None:
    """16 bytes as hex over the weight files among `sizes` (name -> bytes); None where a digest lacks.

    `digests`: of what the files hold, by name; equal ones must mean equal bytes. Of files that could hold
    weights and are not read (training state, other formats beside ours) the name and the size count: the
    account of a model names them.
    """
    facts: list[tuple[str, str]] = []
    may_be_read = that_matter(sizes)
    for name, size in sizes.items():
        is_container = is_weight_file(name)
        if not (is_container or is_index_file(name) or unread_kind(name) is not None):
            continue
        if name not in may_be_read or (is_container and is_training_state(name)):
            facts.append((name, f"not read, {size} bytes"))
            continue
        digest = digests.get(name)
        if digest is None:
            return None
        facts.append((name, digest))
    if len(facts) == 1:
        facts = [(_alone(name), digest) for name, digest in facts]
    return _hash(facts) if facts else None


def settings_key(configs: Mapping[str, Mapping[str, object]]) -> str:
    """16 bytes as hex over the config files (name -> parsed), without `INERT_SETTINGS`.

    Everything else counts: quantisation, ties, the layout that `model_type` stands for, adapters.
    """
    return _hash(
        [
            (name, json.dumps(_without_inert(config), sort_keys=True))
            for name, config in configs.items()
        ]
    )


def _without_inert(value: object) -> object:
    """`value` without the inert keys, at any depth: configs of parts repeat them."""
    if isinstance(value, Mapping):
        return {k: _without_inert(v) for k, v in value.items() if k not in INERT_SETTINGS}
    if isinstance(value, list):
        return [_without_inert(item) for item in value]
    return value


def _alone(name: str) -> str:
    """What counts of the name of the only file: a copy under another name is the same model.

    The folder counts (it stands before the names of tensors), the number of a shard, and the whole
    name of other kinds than safetensors.
    """
    is_plain = name.endswith(".safetensors") and not _NUMBERED.search(base_name(name))
    return f"{folder_of(name)}/*.safetensors" if is_plain else name


def _hash(pairs: list[tuple[str, str]]) -> str:
    hashed = hashlib.blake2b(b"spectral-zoo weights 1", digest_size=16)
    for name, text in sorted(pairs):
        for piece in (name, text):
            raw = piece.encode("utf-8", "surrogatepass")
            hashed.update(len(raw).to_bytes(8, "little") + raw)
    return hashed.hexdigest()
