"""The index of a sharded checkpoint (`*.index.json`): tensor name -> shard. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.errors import HeaderError
from zoo.io.file_names import checked_name
from zoo.io.header import MAX_HEADER_BYTES, strict_json


@dataclass(frozen=True, slots=True)
class Index:
    """Which shard holds which tensor."""

    file: str
    """Name of the index within its store."""
    shard_of: Mapping[str, str]
    """Tensor name -> name of the shard within the store."""

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards named, sorted, each once."""
        return tuple(sorted(set(self.shard_of.values())))


def parse_index(raw: bytes, *, file: str) -> Index:
    """The index in `raw`.

    HeaderError when it is not `{"weight_map": {name: shard}}`; UnsafeError when a shard's name
    leads out of the folder.
    """
    if len(raw) > MAX_HEADER_BYTES:
        raise HeaderError(f"{file}: {len(raw):,} bytes; wanted at most {MAX_HEADER_BYTES:,}")
    content = strict_json(raw, what=file)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise HeaderError(f"{file}: no tensors in weight_map; wanted {{tensor: shard}}")
    folder = file.rpartition("/")[0]
    shard_of: dict[str, str] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise HeaderError(f"{file}: shard of {name[:120]!r} is no string; wanted a file name")
        checked = checked_name(shard, said_by=file)
        shard_of[name] = f"{folder}/{checked}" if folder else checked
    return Index(file, shard_of)
