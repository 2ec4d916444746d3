"""Which files of a folder are the model. Pure: decides from names alone.

Folders first:
 - a pipeline (`model_index.json`) is the subfolders it names; any other folder is what lies at its
   top, and its subfolders only when nothing does (or when `modules.json` names them).

Then, in each folder by itself:
 - safetensors before GGUF before pickles (`.bin`, `.pt`, `.pth`, `.ckpt`);
 - the usual name first (`model`, ...): a whole file before shards with an index, shards with an
   index before shards without, as the libraries that own the names do; without a usual name
   everything there, `a-00001-of-00003` counting as one sharded set;
 - of several precisions or averages of one name (`.fp16`, `.ema`) the plain one, else one of them;
 - training state (optimizer, scheduler, ...) and a second copy called `consolidated*` are left out.

Where none of these is, the files of other libraries are read: see `zoo.io.other_files`. Every other
file that could hold weights is left out with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.file_sets import (
    VARIANTS,
    FileSet,
    IndexName,
    base_name,
    file_sets,
    folder_of,
    index_name,
)
from zoo.io.left_out import LeftOut
from zoo.io.other_files import OtherContainer, choose_others
from zoo.io.weight_files import (
    SUFFIXES,
    Container,
    is_model_file,
    is_training_state,
    is_weight_file,
    unread_kind,
)

_USUAL_STEMS = ("model", "diffusion_pytorch_model", "pytorch_model", "adapter_model")
"""Names, without ending, under which libraries save weights, the preferred one first."""
_INDEX_FIRST = ("diffusion_pytorch_model",)
"""Names whose own library reads complete shards with an index before a whole file."""

ShardsOf = Callable[[str], "tuple[str, ...] | None"]
"""The shards that an index names; None for an index that cannot be read."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files read together: one component, or one set of shards."""

    prefix: str
    """Put before every tensor name: `` or `unet.`."""
    container: Container | OtherContainer
    """What kind of files they are."""
    index: str | None = None
    """The index that names the shards."""
    files: tuple[str, ...] = ()
    """The weight files; empty when the index names them, and for GGUF."""
    candidates: tuple[FileSet, ...] = ()
    """Sets of GGUF files, of which one is read: their headers say what each is."""
    is_optional: bool = False
    """True for a folder of another container than the rest: left out when it is a second copy."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files that make up a model."""

    groups: tuple[Group, ...]
    """At least one."""
    left_out: tuple[LeftOut, ...]
    """Every other file that could hold weights, sorted by name."""


@dataclass(slots=True)
class _Choice:
    """What has been decided so far."""

    groups: list[Group] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a file is not read, by its name."""

    def leave(self, names: Iterable[str], reason: str) -> None:
        """These files are not read; the first reason given for a file stands."""
        for name in names:
            self.reasons.setdefault(name, reason)


def take_inventory(
    names: Mapping[str, int],
    *,
    where: str,
    modules: Iterable[str] = (),
    components: Iterable[str] = (),
    shards_of: ShardsOf = lambda index: None,
) -> Inventory:
    """The files to read among `names` (name -> size). `where` is for messages.

    `modules` are subfolders that belong to the model although the top holds weights; `components`
    are those that a pipeline names. CheckpointError when there are no weights, MissingShardError
    when a numbered shard is not there.
    """
    choice = _Choice()
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if kind := unread_kind(name):
            choice.leave([name], f"{kind}: not read; wanted safetensors, GGUF or PyTorch")
        elif is_weight_file(name) and is_training_state(name):
            choice.leave([name], "training state: not the model's weights")
        elif is_model_file(name):
            by_folder.setdefault(folder_of(name), []).append(name)
        elif (index := index_name(name)) is not None:
            by_folder.setdefault(folder_of(name), [])  # its shards may be missing
    if not by_folder:
        return _others(names, choice, where)
    chosen = _chosen_folders(
        by_folder, names, frozenset(modules), frozenset(components), shards_of, choice
    )
    for folder, inside in sorted(chosen.items()):
        _choose_in_folder(folder, inside, names, shards_of, choice, where)
    is_marked = "model_index.json" in names or bool(set(chosen) & set(modules))
    groups = tuple(choice.groups if is_marked else _one_container(choice.groups))
    for name in names:
        if (index := index_name(name)) is not None:
            here = (n for n in names if folder_of(n) == folder_of(name))
            has_shards = any(n.endswith(index.suffix) for n in here)
            state = "are not read" if has_shards else "are not here"
            choice.leave([name], f"an index of shards that {state}")
    read = {file for group in groups for file in (*group.files, group.index)}
    left = [LeftOut(n, names[n], choice.reasons[n]) for n in sorted(choice.reasons)]
    return Inventory(groups, tuple(file for file in left if file.file not in read))


def _others(names: Mapping[str, int], choice: _Choice, where: str) -> Inventory:
    """The files of a folder that holds those of other libraries alone."""
    others = choose_others(names, where)
    if others is None:
        raise _no_weights(names, choice, where)
    container, files, reasons = others
    left = {**choice.reasons, **reasons}
    return Inventory(
        (Group("", container, None, files),),
        tuple(LeftOut(n, names[n], left[n]) for n in sorted(left) if n not in files),
    )


def _no_weights(names: Mapping[str, int], choice: _Choice, where: str) -> CheckpointError:
    some = ", ".join(sorted(names)[:5]) or "nothing"
    unread = "; ".join(f"{name}: {why}" for name, why in list(choice.reasons.items())[:3])
    return CheckpointError(
        f"no weights in {where}: it holds {some}; wanted a .safetensors, .gguf, .bin, .pt or .pth "
        f"file. {f'Not read: {unread}' if unread else 'Check the path'}"
    )


def _chosen_folders(
    by_folder: Mapping[str, list[str]],
    names: Mapping[str, int],
    modules: frozenset[str],
    components: frozenset[str],
    shards_of: ShardsOf,
    choice: _Choice,
) -> dict[str, list[str]]:
    """The folders that are the model; the others are left out."""
    chosen = dict(by_folder)
    if "model_index.json" in names and any(folder for folder in by_folder):
        choice.leave(chosen.pop("", ()), "at the top of a pipeline, whose components are read")
        named = {f: v for f, v in chosen.items() if f.partition("/")[0] in components}
        if any(named.values()):
            others = [n for f, inside in chosen.items() if f not in named for n in inside]
            choice.leave(others, "in a folder that model_index.json does not name")
            chosen = named
        _tell_empty(names, components, chosen, choice)
        return chosen
    is_top_read = bool(by_folder.get("")) or _names_some(by_folder, names, shards_of)
    if is_top_read:
        chosen = {f: v for f, v in chosen.items() if f == "" or f in modules}
        others = [n for f, inside in by_folder.items() if f not in chosen for n in inside]
        choice.leave(others, "in a subfolder: what lies at the top is read")
    elif any(by_folder.values()):
        chosen.pop("", None)
    return chosen


def _names_some(
    by_folder: Mapping[str, list[str]], names: Mapping[str, int], shards_of: ShardsOf
) -> bool:
    """True when an index at the top, where no weights are, names files that are there."""
    if "" not in by_folder:
        return False
    indexes = [name for name in names if not folder_of(name) and index_name(name)]
    return any(shard in names for index in indexes for shard in shards_of(index) or ())


def _tell_empty(
    names: Mapping[str, int],
    components: frozenset[str],
    chosen: Mapping[str, list[str]],
    choice: _Choice,
) -> None:
    """A component that has a config and no weights was not fetched whole."""
    for component in components:
        config = f"{component}/config.json"
        if config in names and component not in chosen:
            if not any(name.startswith(f"{component}/") for name in choice.reasons):
                choice.leave([config], "a component without weights; fetch the folder again")


def _choose_in_folder(
    folder: str,
    inside: list[str],
    names: Mapping[str, int],
    shards_of: ShardsOf,
    choice: _Choice,
    where: str,
) -> None:
    """The groups among `inside`, the weight files of one folder."""
    prefix = folder.replace("/", ".") + "." if folder else ""
    candidates = (index_name(name) for name in names if folder_of(name) == folder)
    indexes = [index for index in candidates if index is not None]
    for container, suffixes in SUFFIXES.items():
        weights = [n for n in inside if n.endswith(suffixes)]
        if not weights:
            continue
        others = [n for n in inside if n not in weights]
        choice.leave(others, f"{container} files lie beside it, which are read")
        if container == "gguf":
            choice.groups.append(Group(prefix, container, candidates=file_sets(weights)))
            return
        ours = [index for index in indexes if index.suffix in suffixes]
        picked = _Folder(prefix, container, file_sets(weights), ours, shards_of, choice, where)
        choice.groups.extend(picked.groups())
        return
    if indexes:  # an index alone: its reader says which shards are missing
        container = next(c for c, suffixes in SUFFIXES.items() if indexes[0].suffix in suffixes)
        choice.groups.append(Group(prefix, container, indexes[0].file))


@dataclass(frozen=True, slots=True)
class _Folder:
    """The weight files of one container in one folder."""

    prefix: str
    container: Container
    sets: tuple[FileSet, ...]
    indexes: list[IndexName]
    shards_of: ShardsOf
    choice: _Choice
    where: str

    def groups(self) -> Iterator[Group]:
        """What is read of them."""
        stems = {s.stem for s in self.sets} | {index.stem for index in self.indexes}
        usual = next((stem for stem in _USUAL_STEMS if stem in stems), None)
        if usual is not None:
            yield self._of_stem(usual)
            others = [s for s in self.sets if s.stem != usual]
            self._leave(others, f"beside the files called {usual!r}, which are read")
            return
        if self.indexes:
            shortest = min(self.indexes, key=lambda index: (len(index.file), index.file))
            yield self._of_stem(shortest.stem)
            others = [s for s in self.sets if s.stem != shortest.stem]
            self._leave(others, f"{base_name(shortest.file)} does not name it")
            return
        plain = sorted(stem for stem in stems if not stem.startswith("consolidated"))
        for stem in plain or sorted(stems):
            yield self._of_stem(stem)
        if plain:
            others = [s for s in self.sets if s.stem not in plain]
            self._leave(others, "a second copy: the other files are read")

    def _of_stem(self, stem: str) -> Group:
        """The best variant of one stem; the others are left out."""
        sets = [s for s in self.sets if s.stem == stem]
        indexes = [index for index in self.indexes if index.stem == stem]
        present = {s.variant for s in sets} | {index.variant for index in indexes}
        order = [*VARIANTS, *sorted(present - set(VARIANTS))]
        best = min(present, key=order.index)
        group = self._of_variant(
            [s for s in sets if s.variant == best],
            next((index.file for index in indexes if index.variant == best), None),
        )
        read = ", ".join(group.files[:1]) or group.index
        self._leave(
            [s for s in sets if s.variant != best],
            f"another precision or average of the same weights: {read} is read",
        )
        return group

    def _of_variant(self, sets: list[FileSet], index: str | None) -> Group:
        """One whole file, the shards of an index, or shards without one."""
        whole = next((s for s in sets if not s.is_sharded), None)
        complete = [s for s in sets if s.is_sharded and not s.missing]
        if index is not None and (whole is None or self._index_counts(index, whole, complete)):
            named = self.shards_of(index) or ()
            self._leave(
                [s for s in sets if not set(s.files) & set(named)],
                f"{base_name(index)} does not name it",
            )
            return Group(self.prefix, self.container, index)
        if whole is not None:
            name = whole.files[0]
            self._leave(
                [s for s in sets if s is not whole], f"shards beside {name}, which is read whole"
            )
            if index is not None:
                self.choice.leave([index], f"a stale index beside {name}, which is read whole")
            return Group(self.prefix, self.container, None, whole.files)
        if len(complete) > 1:
            ways = " and ".join(f"{s.files[0]}, ..." for s in complete)
            raise CheckpointError(
                f"{self.where} holds the shards of {complete[0].stem!r} twice, cut in different "
                f"ways ({ways}), and no index; wanted one set. Remove the old one"
            )
        chosen = _complete(complete[0] if complete else sets[0], self.where)
        self._leave([s for s in sets if s is not chosen], f"{chosen.files[0]}, ... are read")
        return Group(self.prefix, self.container, None, chosen.files)

    def _index_counts(self, index: str, whole: FileSet, complete: list[FileSet]) -> bool:
        """Whether an index is read although a whole file lies beside its shards.

        It is when it names that file, and where the library that owns the name reads it first.
        """
        if whole.stem in _INDEX_FIRST and complete:
            return True
        return whole.files[0] in (self.shards_of(index) or ())

    def _leave(self, sets: Iterable[FileSet], reason: str) -> None:
        self.choice.leave((file for s in sets for file in s.files), reason)


def _complete(files: FileSet, where: str) -> FileSet:
    """`files`, if none of its shards is missing."""
    if files.missing:
        num = len(files.files) + len(files.missing)
        raise MissingShardError(
            f"shard {files.missing[0]!r} is not in {where}: {len(files.files)} of the {num} shards "
            f"of {files.stem!r} are there; fetch {', '.join(files.missing[:3])}"
            f"{', ...' if len(files.missing) > 3 else ''}, or use the whole folder"
        )
    return files


def _one_container(groups: list[Group]) -> Iterator[Group]:
    """Folders that nothing declares parts of one model: those of a lesser container are optional."""
    kinds = [str(kind) for kind in SUFFIXES]
    first = min(groups, key=lambda g: kinds.index(g.container)).container
    for group in groups:
        is_optional = group.container != first
        yield Group(
            group.prefix, group.container, group.index, group.files, group.candidates, is_optional
        )
