"""Which files of a folder are the model. Pure: decides from names and sizes alone.

Rules, first match wins:
 - safetensors before GGUF before pickles (`.bin`, `.pt`, `.pth`);
 - a diffusers folder (`model_index.json`) is its subfolders; any other folder is what lies at its
   top, and its subfolders only when nothing does (or when `modules.json` names them);
 - within a folder an index rules; without one the usual name; without that, everything there,
   `a-00001-of-00003` counting as one sharded set;
 - training state (optimizer, scheduler, ...), precision variants (`.fp16`, `.ema`) and the second
   copy called `consolidated*` are left out when the plain files are there.
What is left out is listed, so that nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.weight_files import SUFFIXES, Container, is_training_state, is_weight_file

_USUAL_STEMS = ("model", "diffusion_pytorch_model", "pytorch_model", "adapter_model")
"""Names, without ending, under which libraries save weights, the preferred one first."""
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)(?=[.-])")
"""Part of a name that marks a second copy at another precision or an averaged one."""
_SHARD = re.compile(r"(?P<stem>.*?)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
"""A numbered shard: `stem-00001-of-00003`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files read together: one component, or one set of shards."""

    prefix: str
    """Put before every tensor name: `` or `unet.`."""
    index: str | None
    """The index that names the shards."""
    files: tuple[str, ...]
    """The weight files; empty when the index names them."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files that make up a model."""

    container: Container
    """What kind of files they are."""
    groups: tuple[Group, ...]
    """At least one."""
    left_out: tuple[str, ...]
    """Weight files that are not read."""


def take_inventory(
    names: Mapping[str, int], *, where: str, modules: Iterable[str] = ()
) -> Inventory:
    """The files to read among `names` (name -> size). `where` is for messages.

    CheckpointError when there are none, MissingShardError when a numbered shard is not there.
    `modules` are subfolders that belong to the model although the top holds weights.
    """
    for container, suffixes in SUFFIXES.items():
        weights = [n for n in names if n.endswith(suffixes) and not is_training_state(n)]
        if weights:
            groups = tuple(_groups(container, weights, names, frozenset(modules)))
            return Inventory(container, groups, _left_out(groups, names))
    some = ", ".join(sorted(names)[:5]) or "nothing"
    raise CheckpointError(
        f"no weights in {where}: it holds {some}; wanted a .safetensors, .gguf, .bin, .pt or .pth "
        "file. Check the path"
    )


def _groups(
    container: Container, weights: list[str], names: Mapping[str, int], modules: frozenset[str]
) -> Iterable[Group]:
    """The groups among the weight files, by the rules of the module."""
    by_folder: dict[str, list[str]] = {}
    for name in weights:
        by_folder.setdefault(_folder(name), []).append(name)
    if "model_index.json" in names and len(by_folder) > 1:
        by_folder.pop("", None)
    elif "" in by_folder:
        by_folder = {f: by_folder[f] for f in by_folder if f == "" or f in modules}
    if container == "gguf":
        yield _largest_gguf(by_folder, names)
        return
    for folder, inside in sorted(by_folder.items()):
        yield from _in_folder(container, folder, sorted(inside), names)


def _in_folder(
    container: Container, folder: str, inside: list[str], names: Mapping[str, int]
) -> Iterable[Group]:
    """The groups among `inside`, the weight files of one folder."""
    prefix = folder.replace("/", ".") + "." if folder else ""
    suffixes = tuple(s + ".index.json" for s in SUFFIXES[container])
    indexes = [n for n in names if n.endswith(suffixes) and _folder(n) == folder]
    plain = [n for n in inside if not _VARIANT.search(_base(n))] or inside
    by_stem = {_stem(n): n for n in plain}
    for usual in _USUAL_STEMS:
        for index in indexes:
            if _base(index).split(".")[0] == usual and not _VARIANT.search(_base(index)):
                yield Group(prefix, index, ())
                return
        if usual in by_stem:
            yield Group(prefix, None, (by_stem[usual],))
            return
    if indexes:
        yield Group(prefix, min(indexes, key=len), ())
        return
    sets = _shard_sets(plain)
    others = {stem: files for stem, files in sets.items() if not stem.startswith("consolidated")}
    for _, files in sorted((others or sets).items()):
        yield Group(prefix, None, files)


def _largest_gguf(by_folder: Mapping[str, list[str]], names: Mapping[str, int]) -> Group:
    """GGUF folders hold the same model at many precisions: the largest is the most precise."""
    sets: list[tuple[str, ...]] = []
    for inside in by_folder.values():
        sets += _shard_sets(inside).values()
    sizes = [(sum(names[n] for n in files), files) for files in sets]
    return Group("", None, max(sizes)[1])


def _shard_sets(files: list[str]) -> dict[str, tuple[str, ...]]:
    """Files by stem, `a-00001-of-00002` and `a-00002-of-00002` together under `a`."""
    sets: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for name in sorted(files):
        match = _SHARD.match(_stem(name))
        stem = match["stem"] if match else _stem(name)
        sets.setdefault(stem, []).append(name)
        if match:
            counts[stem] = int(match["count"])
    for stem, count in counts.items():
        if len(sets[stem]) != count:
            raise MissingShardError(
                f"{len(sets[stem])} of the {count} shards of {stem!r} are there "
                f"({', '.join(sets[stem][:3])}, ...); fetch the others, or use the whole folder"
            )
    return {stem: tuple(shards) for stem, shards in sets.items()}


def _left_out(groups: tuple[Group, ...], names: Mapping[str, int]) -> tuple[str, ...]:
    if any(group.index for group in groups):
        return ()  # the index says what belongs; its reader lists the rest
    used = {name for group in groups for name in group.files}
    return tuple(n for n in sorted(names) if is_weight_file(n) and n not in used)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _base(name).rpartition(".")[0]
