"""Weight files of one folder by what they are copies or pieces of. Pure: names alone.

`model.fp16-00001-of-00003.safetensors` is a piece of the stem `model` in the variant `fp16`; its
index is `model.safetensors.index.fp16.json`. Writers put the variant before or behind the number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

VARIANTS = (
    "", "fp32", "f32", "bf16", "fp16", "f16", "fp8", "int8", "8bit", "int4", "4bit", "non_ema", "ema",
)  # fmt: skip
"""Marks of a second copy at another precision, or an averaged one; the preferred one first."""
_VARIANT = re.compile(r"\.(" + "|".join(v for v in VARIANTS if v) + r")(?=$|[.-])")
"""The mark of a variant in a name."""
_SHARD = re.compile(r"[-_.](?P<number>\d{1,6})[-_]of[-_](?P<count>\d{1,6})(?!\d)")
"""The number of a shard and of all shards: `-00001-of-00003`."""
_INDEX = re.compile(
    r"(?P<stem>.+)\.(?P<suffix>safetensors|bin|pt|pth|ckpt)\.index(\.(?P<variant>[\w-]+))?\.json$"
)
"""The name of an index, without its folder."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """One file, or the numbered shards of one."""

    stem: str
    """Name without ending, variant and number."""
    variant: str
    """One of `VARIANTS`."""
    files: tuple[str, ...]
    """Names in the store, sorted."""
    missing: tuple[str, ...]
    """Shards that the numbers ask for and that are not there."""
    is_sharded: bool
    """True when the files are numbered, even if there is only one."""


@dataclass(frozen=True, slots=True)
class IndexName:
    """What the name of an index says."""

    file: str
    """The index itself."""
    stem: str
    """Name of the weights without ending and variant."""
    variant: str
    """One of `VARIANTS`."""
    suffix: str
    """Ending of the shards it names: `.safetensors`."""


def base_name(name: str) -> str:
    """`name` without its folder."""
    return name.rpartition("/")[2]


def folder_of(name: str) -> str:
    """The folder of `name`; empty at the top."""
    return name.rpartition("/")[0]


def index_name(name: str) -> IndexName | None:
    """What the name of an index says; None for a file that is none."""
    match = _INDEX.match(base_name(name))
    if match is None:
        return None
    stem, variant = _without_variant(match["stem"])
    return IndexName(name, stem, match["variant"] or variant, "." + match["suffix"])


def file_sets(names: Iterable[str]) -> tuple[FileSet, ...]:
    """The sets that the weight files `names` of one folder make up, by stem."""
    whole: list[FileSet] = []
    shards: dict[tuple[str, str, int], dict[int, str]] = {}
    for name in sorted(names):
        bare = base_name(name).rpartition(".")[0]
        matches = list(_SHARD.finditer(bare))
        last = matches[-1] if matches else None
        stem, variant = _without_variant(_cut(bare, last) if last else bare)
        if last is None:
            whole.append(FileSet(stem, variant, (name,), (), is_sharded=False))
        else:
            key = (stem, variant, int(last["count"]))
            shards.setdefault(key, {})[int(last["number"])] = name
    for (stem, variant, count), by_number in shards.items():
        first = 0 if 0 in by_number else 1
        lacking = [i for i in range(first, first + count) if i not in by_number]
        some = next(iter(by_number.values()))
        whole.append(
            FileSet(
                stem,
                variant,
                tuple(by_number[i] for i in sorted(by_number)),
                tuple(_numbered(some, number) for number in lacking),
                is_sharded=True,
            )
        )
    return tuple(sorted(whole, key=lambda s: (s.stem, VARIANTS.index(s.variant), s.files)))


def _without_variant(stem: str) -> tuple[str, str]:
    """(`stem` without the mark of a variant, the mark)."""
    match = _VARIANT.search(stem)
    return (_cut(stem, match), match[1]) if match else (stem, "")


def _cut(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + text[match.end() :]


def _numbered(name: str, number: int) -> str:
    """The name that the shard `number` of the set of `name` has."""
    folder, base = folder_of(name), base_name(name)
    last = list(_SHARD.finditer(base))[-1]
    start, end = last.span("number")
    renamed = f"{base[:start]}{number:0{end - start}d}{base[end:]}"
    return f"{folder}/{renamed}" if folder else renamed
