"""Sources on this machine: a folder, a weight file, a tree of model folders, or a glob over these.

Folders of the Hub's cache go by the names that their models have on the Hub: see `zoo.io.hub_cache`.
Reads listings, and file contents for the fingerprint; never a header, never a tensor. Whatever is wrong
with one match is that target's failure, and the others are listed.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath

from jobs.sources.pinned import KIND, pinned, target_of_snapshot
from jobs.sources.registry import Say
from jobs.sources.steps import step_of, unread_revision, with_steps
from jobs.sources.target import Origin, Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import CheckpointError, UseError
from zoo.io.file_names import shown
from zoo.io.hub_cache import is_other_repository, repo_id_of, snapshot_at, snapshots_of
from zoo.io.other_files import is_surely_a_model
from zoo.io.slice_folders import holds_slices
from zoo.io.weight_files import (
    WEIGHT_SUFFIXES,
    is_index_file,
    is_model_file,
    is_weight_file,
    unread_kind,
)

_FINGERPRINT_THREADS = 4
_MARKERS = ("config.json", "model_index.json", "adapter_config.json")
"""A folder that holds one of these is meant as a model, even when its weights are missing."""


def list_targets(source: Source, where: str, say: Say) -> Iterator[Target]:
    """See `SourceModule.list_targets`."""
    path = source.path or ""
    is_glob = glob.has_magic(path) and not os.path.lexists(path)
    matches = sorted(glob.glob(path)) if is_glob else [path]
    if not matches or not os.path.lexists(matches[0]):
        raise UseError(
            f"{where}.path: got {path!r}, which matches nothing; wanted folders or weight files. "
            "Relative paths are relative to the spec's folder"
        )
    models = models_at(
        [Path(match) for match in matches], lambda text: say(f"{where}.path: {text}")
    )
    if not models:
        raise UseError(
            f"{where}.path: got {path!r}, which matches {len(matches)} entries but no folder with weights and "
            f"no weight file ({', '.join(WEIGHT_SUFFIXES)})"
        )
    _say_training_state(matches, models, where, say)
    pattern = re.compile(source.step_pattern) if source.step_pattern else None
    wanted = models
    if pattern is not None:
        models = [step for model in models for step in _steps_in(model, pattern)]
        by_text = {_step_text(model): model for model in models}
        wanted = [by_text[text] for text in with_steps(list(by_text), pattern, where, say)]
    with ThreadPoolExecutor(_FINGERPRINT_THREADS) as pool:  # hashing releases the interpreter
        yield from pool.map(lambda model: _target(source, model, pattern), wanted)


def list_again(target: Target) -> Target:
    """See `SourceModule.list_again`."""
    return pinned(replace(target, failure=None))


def models_at(paths: list[Path], say: Say) -> list[Path]:
    """The model folders and weight files at or below `paths`; `say` hears what is left out.

    Opens and reads nothing of them.
    """
    alone = len(paths) == 1
    left: list[str] = []
    models = [model for path in paths for model in _models_at(path, alone=alone, left=left)]
    if left:
        say(
            f"left out {len(left)} folders of the Hub's cache that hold no weights: {', '.join(left[:3])}"
            f"{', ...' if len(left) > 3 else ''}"
        )
    return models


def _models_at(path: Path, *, alone: bool, left: list[str]) -> Iterator[Path]:
    """A weight file, a model folder, or the model folders below a tree; an empty folder stays itself.

    What is neither file nor folder, or cannot be looked into, stays itself too: opening it says why.
    """
    if os.path.isfile(path):
        if is_model_file(path.name) or is_surely_a_model(path.name) or alone:
            yield path
    elif (
        not os.path.isdir(path)
        or snapshot_at(Path(os.path.abspath(path)))
        or _is_model_folder(path)
    ):
        yield path
    elif repo_id_of(Path(os.path.abspath(path))) is not None:
        yield from _snapshots(path, None) or [path] if alone else _snapshots(path, left)
    else:
        yield from list(_model_folders_below(path, left)) or [path]


def _steps_in(model: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The folders of the steps in a model's folder that holds no weights itself, such as the
    `checkpoint-500` of a trainer; `model` where there are none."""
    if step_of(model, pattern) is not None or not os.path.isdir(model) or holds_slices(model):
        return [model]
    try:
        names = os.listdir(model)
    except OSError:
        return [model]
    if any(is_model_file(name) for name in names):
        return [model]
    inner = [path for name in sorted(names) if _is_model_folder(path := model / name)]
    return [path for path in inner if step_of(path, pattern) is not None] or [model]


def _model_folders_below(tree: Path, left: list[str]) -> Iterator[Path]:
    """The outermost model folders in `tree`, and folders that cannot be looked into."""
    for folder, below, _ in os.walk(tree):
        below.sort()
        inner = [Path(folder, name) for name in below]
        others = [path for path in inner if is_other_repository(path)]
        left += [path.name for path in others]
        repositories = [path for path in inner if repo_id_of(path) is not None]
        models = [path for path in inner if path not in repositories and _is_model_folder(path)]
        taken = {*others, *repositories, *models}
        below[:] = [path.name for path in inner if path not in taken]
        for repository in repositories:
            models += _snapshots(repository, left)
        yield from models


def _snapshots(repository: Path, left: list[str] | None) -> list[Path]:
    """The snapshots of a repository in the Hub's cache. With `left`, those that hold no weights go there:
    of many repositories, a tokenizer or a config is all that was ever fetched."""
    folders = [snapshot.folder for snapshot in snapshots_of(repository)]
    if left is None:
        return folders
    empty = [folder for folder in folders if not _may_hold_weights(folder)]
    left += [f"{repository.name}/snapshots/{folder.name[:12]}" for folder in empty]
    if not folders:
        left.append(repository.name)
    return [folder for folder in folders if folder not in empty]


def _may_hold_weights(folder: Path) -> bool:
    """True when a file there is named like weights, of a kind that nothing reads too."""
    names = (name for _, _, inside in os.walk(folder) for name in inside)
    return any(is_model_file(n) or unread_kind(n) or is_index_file(n) for n in names)


def _is_model_folder(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    try:
        names = os.listdir(path)
    except OSError:
        return True  # it may be one: opening it says what is wrong
    is_model = (
        is_model_file(n) or is_surely_a_model(n) or n in _MARKERS or n.endswith(".index.json")
        for n in names
    )
    return any(is_model) or holds_slices(path)


def _say_training_state(matches: list[str], models: list[Path], where: str, say: Say) -> None:
    """Optimizer states among the matches end like weights: they are not left out in silence."""
    files = {Path(match) for match in matches if is_weight_file(match) and os.path.isfile(match)}
    left = sorted(shown(path.name) for path in files - set(models))
    if left:
        say(
            f"{where}.path: left out {len(left)} of {len(matches)} matches that hold training state: "
            f"{', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
        )


def _step_text(model: Path) -> PurePath:
    """Where the step of a model stands: in its path, or in the branches and tags of a cached commit."""
    snapshot = snapshot_at(Path(os.path.abspath(model)))
    return (
        model if snapshot is None else PurePath(snapshot.repo_id, *snapshot.refs, snapshot.commit)
    )


def _target(source: Source, model: Path, pattern: re.Pattern[str] | None) -> Target:
    path = Path(os.path.abspath(model))
    label = f"path:{shown(str(path))}"
    snapshot = snapshot_at(path)
    if snapshot is not None:
        step = step_of(_step_text(path), pattern)
        return target_of_snapshot(snapshot, source=label, step=step, family=source.family)
    name = path.parent.name if pattern else (path.stem if os.path.isfile(path) else path.name)
    repo_id = repo_id_of(path)
    target = Target(
        model_id=repo_id or f"{source.name or 'local'}/{shown(name)}",
        revision=unread_revision(path),
        location=None,
        source=label,
        step=step_of(path, pattern),
        family=source.family,
        origin=Origin(KIND, str(path), repo_id or str(path.parent if pattern else path)),
    )
    if name != shown(name):
        message = f"the name of {shown(str(path))} is not UTF-8, so no table can hold it; rename it"
        return replace(target, failure=failure_of(CheckpointError(message)))
    return pinned(target)
