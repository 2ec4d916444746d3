"""Sources on this machine: a folder, a weight file, a tree of model folders, or a glob over these.

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
from pathlib import Path

from jobs.sources.registry import Say
from jobs.sources.steps import revision_of, step_of, unread_revision, with_steps
from jobs.sources.target import Origin, Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import CheckpointError, UseError, ZooError
from zoo.io.configs import base_named_by_adapter
from zoo.io.file_names import shown
from zoo.io.local import LocalLocation, LocalStore
from zoo.io.weight_files import WEIGHT_SUFFIXES, is_model_file, is_weight_file

KIND = "folder"
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
    models = [m for match in matches for m in _models_at(Path(match), alone=len(matches) == 1)]
    if not models:
        raise UseError(
            f"{where}.path: got {path!r}, which matches {len(matches)} entries but no folder with weights and "
            f"no weight file ({', '.join(WEIGHT_SUFFIXES)})"
        )
    _say_training_state(matches, models, where, say)
    pattern = re.compile(source.step_pattern) if source.step_pattern else None
    wanted = models if pattern is None else with_steps(models, pattern, where, say)
    with ThreadPoolExecutor(_FINGERPRINT_THREADS) as pool:  # hashing releases the interpreter
        yield from pool.map(lambda model: _target(source, model, pattern), wanted)


def list_again(target: Target) -> Target:
    """See `SourceModule.list_again`."""
    return _pinned(replace(target, failure=None))


def _models_at(path: Path, *, alone: bool) -> Iterator[Path]:
    """A weight file, a model folder, or the model folders below a tree; an empty folder stays itself.

    What is neither file nor folder, or cannot be looked into, stays itself too: opening it says why.
    """
    if os.path.isfile(path):
        if is_model_file(path.name) or alone:
            yield path
    elif not os.path.isdir(path) or _is_model_folder(path):
        yield path
    else:
        yield from list(_model_folders_below(path)) or [path]


def _model_folders_below(tree: Path) -> Iterator[Path]:
    """The outermost model folders in `tree`, and folders that cannot be looked into."""
    for folder, below, _ in os.walk(tree):
        below.sort()
        inner = [Path(folder, name) for name in below]
        models = [path for path in inner if _is_model_folder(path)]
        below[:] = [path.name for path in inner if path not in models]
        yield from models


def _is_model_folder(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    try:
        names = os.listdir(path)
    except OSError:
        return True  # it may be one: opening it says what is wrong
    return any(is_model_file(n) or n in _MARKERS or n.endswith(".index.json") for n in names)


def _say_training_state(matches: list[str], models: list[Path], where: str, say: Say) -> None:
    """Optimizer states among the matches end like weights: they are not left out in silence."""
    files = {Path(match) for match in matches if is_weight_file(match) and os.path.isfile(match)}
    left = sorted(shown(path.name) for path in files - set(models))
    if left:
        say(
            f"{where}.path: left out {len(left)} of {len(matches)} matches that hold training state: "
            f"{', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
        )


def _target(source: Source, model: Path, pattern: re.Pattern[str] | None) -> Target:
    path = Path(os.path.abspath(model))
    name = path.parent.name if pattern else (path.stem if os.path.isfile(path) else path.name)
    target = Target(
        model_id=f"{source.name or 'local'}/{shown(name)}",
        revision=unread_revision(path),
        location=None,
        source=f"path:{shown(str(path))}",
        step=step_of(path, pattern),
        family=source.family,
        origin=Origin(KIND, str(path), str(path.parent if pattern else path)),
    )
    if name != shown(name):
        message = f"the name of {shown(str(path))} is not UTF-8, so no table can hold it; rename it"
        return replace(target, failure=failure_of(CheckpointError(message)))
    return _pinned(target)


def _pinned(target: Target) -> Target:
    """`target` with the fingerprint of what lies at its path now, or with what is wrong there."""
    path = target.origin.path
    try:
        store = LocalStore(LocalLocation.of(path, model_id=target.model_id))
        try:
            pinned = store.pinned()
            nbytes = sum(store.files().values())
            named_base = base_named_by_adapter(store)
        finally:
            store.close()
    except (ZooError, OSError) as error:
        stand_in = unread_revision(Path(path))
        return replace(target, location=None, revision=stand_in, failure=failure_of(error))
    revision = revision_of(pinned.revision or "", target.step)
    return replace(
        target,
        location=replace(pinned, revision=revision),
        revision=revision,
        nbytes=nbytes,
        named_base=named_base,
    )
