"""Sources -> targets: which models, at which revisions, lie behind a spec.

A target is pinned: its revision is a commit sha or a content fingerprint, so that planning twice and
sweeping later mean the same bytes. Reads listings and (for folders) file contents for the fingerprint;
never a header, never a tensor.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.sources.bases import base_target, named_base, on_base
from jobs.sources.target import Target, failure_of
from jobs.spec.tables import Source, Spec
from zoo.errors import NotFoundError, UseError, ZooError

WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")
"""What a path source takes for a weight file, by name."""
_FINGERPRINT_THREADS = 4
_NOT_WEIGHTS = (
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "optimizer.bin",
)


def find_targets(spec: Spec, say: Callable[[str], None] | None = None) -> tuple[Target, ...]:
    """All targets of a spec, in the spec's order; `say` hears what a step_pattern leaves out.

    Raises UseError when a path or a step_pattern matches nothing or two sources give the same
    (model, revision).
    """
    found: list[Target] = []
    with_base = spec.layers.adapters != "delta"
    if any(source.path is None or source.base is not None for source in spec.source):
        from jobs.sources.hub import ready_session  # the Hub client is slow to import

        ready_session()
    for number, source in enumerate(spec.source):
        where = f"source[{number}]"
        mine = _targets_of(source, where, say)
        if with_base and source.base is not None:
            base = base_target(source, partial(_targets_of, where=f"{where}.base"))
            mine = [on_base(target, base) for target in mine]
        found += mine
    if with_base:
        found = [t if t.base_revision else on_base(t, named_base(t, found)) for t in found]
    _refuse_twins(found)
    return tuple({(t.model_id, t.revision): t for t in reversed(found)}.values())[::-1]


def _targets_of(
    source: Source, where: str, say: Callable[[str], None] | None = None
) -> list[Target]:
    if source.path is not None:
        return _path_targets(source, where, say)
    from jobs.sources.hub import hub_targets

    return list(hub_targets(source))


def targets_of_path(path: str) -> tuple[Target, ...]:
    """Targets of one folder or file, outside any spec."""
    return tuple(_path_targets(Source(path=path), path))


def _path_targets(
    source: Source, where: str, say: Callable[[str], None] | None = None
) -> list[Target]:
    path = source.path or ""
    if "://" in path:
        return list(_remote_targets(source, path, where, say))
    matches = (
        sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]
    )
    if not matches or not os.path.exists(matches[0]):
        raise UseError(
            f"{where}.path: got {path!r}, which matches nothing; wanted folders or weight files. "
            "Relative paths are relative to the spec's folder"
        )
    models = [m for match in matches for m in _expand(Path(match), alone=len(matches) == 1)]
    if not models:
        raise UseError(
            f"{where}.path: got {path!r}, which matches {len(matches)} entries but no folder with weights and "
            f"no weight file ({', '.join(WEIGHT_SUFFIXES)})"
        )
    pattern = re.compile(source.step_pattern) if source.step_pattern else None
    wanted = models if pattern is None else _with_steps(models, pattern, where, say)
    with ThreadPoolExecutor(_FINGERPRINT_THREADS) as pool:  # hashing releases the interpreter
        return list(pool.map(lambda model: _local_target(source, model, pattern), wanted))


def _with_steps(
    models: Sequence[Path],
    pattern: re.Pattern[str],
    where: str,
    say: Callable[[str], None] | None,
) -> list[Path]:
    """The models of a trajectory: those whose path tells a step. UseError when none does."""
    wanted = [model for model in models if _step(model, pattern) is not None]
    left = [model.name for model in models if _step(model, pattern) is None]
    if not wanted:
        raise UseError(
            f"{where}.step_pattern: got {pattern.pattern!r}, which finds a number in none of "
            f"{len(models)} paths such as {str(models[0])!r}; wanted one group around the digits of "
            f"the step, like 'step(\\d+)'"
        )
    if left and say is not None:
        say(
            f"{where}.step_pattern: left out {len(left)} of {len(models)} that name no step: "
            f"{', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
        )
    return wanted


def _expand(path: Path, *, alone: bool) -> Iterator[Path]:
    """A weight file, a model folder, or the model folders below a tree; an empty folder stays itself."""
    if path.is_file():
        if _is_weight_file(path.name) or alone:
            yield path
    elif _is_model_folder(path):
        yield path
    else:
        below = [p for p in sorted(path.rglob("*")) if p.is_dir() and _is_model_folder(p)]
        tops = [p for p in below if not any(q in p.parents for q in below)]
        yield from tops or [path]


def _is_weight_file(name: str) -> bool:
    return name.endswith(WEIGHT_SUFFIXES) and name not in _NOT_WEIGHTS


def _is_model_folder(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    names = os.listdir(path)
    markers = ("config.json", "model_index.json", "adapter_config.json")
    return any(_is_weight_file(n) or n in markers or n.endswith(".index.json") for n in names)


def _step(path: Path, pattern: re.Pattern[str]) -> int | None:
    match = pattern.search(path.name) or pattern.search(str(path))
    try:
        return int(match[1]) if match else None
    except ValueError:
        return None


def _local_target(source: Source, path: Path, pattern: re.Pattern[str] | None) -> Target:
    from zoo.io.local import LocalLocation

    path = Path(os.path.abspath(path))
    step = _step(path, pattern) if pattern else None
    named = path.parent.name if pattern else (path.stem if path.is_file() else path.name)
    model_id = f"{source.name or 'local'}/{named}"
    origin = str(path.parent if pattern else path)
    empty = Target(model_id, "", None, f"path:{path}", step, source.family, origin=origin)
    try:
        location = LocalLocation.of(path, model_id=model_id)
        store = location.open()
        try:
            revision = store.revision
            nbytes = sum(store.files().values())
        finally:
            store.close()
    except (ZooError, OSError) as error:
        return replace(empty, failure=failure_of(error), revision=_unread_revision(path))
    if step is not None:
        revision = _of_step(revision, step)
    location = replace(location, revision=revision)
    return replace(empty, location=location, revision=revision, nbytes=nbytes)


def _remote_targets(
    source: Source, url: str, where: str, say: Callable[[str], None] | None
) -> Iterator[Target]:
    """Targets of an fsspec URL: a folder, a weight file, or a glob over these."""
    pattern = re.compile(source.step_pattern) if source.step_pattern else None
    urls = {Path(match): match for match in _matching_urls(url, where)}
    wanted = list(urls) if pattern is None else _with_steps(list(urls), pattern, where, say)
    for path in wanted:
        yield _remote_target(source, urls[path], pattern)


def _matching_urls(url: str, where: str) -> list[str]:
    if not glob.has_magic(url):
        return [url]
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(url)
        found = fs.glob(path, detail=True)
    except (ImportError, ValueError, OSError) as error:
        raise UseError(f"{where}.path: cannot list {url!r}: {error}") from error
    models = [
        fs.unstrip_protocol(name)
        for name, info in sorted(found.items())
        if info["type"] == "directory" or _is_weight_file(name.rpartition("/")[2])
    ]
    if not models:
        raise UseError(
            f"{where}.path: got {url!r}; wanted a URL that matches folders or weight files"
        )
    return models


def _remote_target(source: Source, url: str, pattern: re.Pattern[str] | None) -> Target:
    from zoo.io.local import BESIDE_A_FILE
    from zoo.io.remote import FsspecLocation

    folder, _, last = url.rstrip("/").rpartition("/")
    is_file = _is_weight_file(last)
    step = _step(Path(url), pattern) if pattern else None
    named = folder.rpartition("/")[2] if pattern else (Path(last).stem if is_file else last)
    model_id = f"{source.name or 'local'}/{named}"
    files = (last, *BESIDE_A_FILE) if is_file else None
    location = FsspecLocation(folder if is_file else url, files, model_id)
    origin = folder if pattern else url
    empty = Target(model_id, "", location, f"path:{url}", step, source.family, origin=origin)
    try:
        store = location.open()
        try:
            revision, sizes = store.revision, store.files()
        finally:
            store.close()
        if is_file and last not in sizes:
            raise NotFoundError(f"nothing at {url}; check the URL")
    except (ZooError, OSError) as error:
        return replace(empty, failure=failure_of(error), revision=_unread_revision(Path(url)))
    revision = revision if step is None else _of_step(revision, step)
    return replace(
        empty,
        location=replace(location, revision=revision),
        revision=revision,
        nbytes=sum(sizes.values()),
    )


def _of_step(revision: str, step: int) -> str:
    """Two steps may hold the same bytes; they are two revisions all the same."""
    return hashlib.blake2b(f"{revision} step {step}".encode(), digest_size=20).hexdigest()


def _unread_revision(path: Path) -> str:
    """Stands in for the fingerprint of something that cannot be read, so that its failure has a key."""
    return hashlib.blake2b(f"unread {path.name}".encode(), digest_size=20).hexdigest()


def _refuse_twins(targets: Sequence[Target]) -> None:
    """Two different folders must not share an id; the same Hub revision may be listed twice, once is done."""
    first: dict[str, Target] = {}
    for target in targets:
        other = first.setdefault(target.model_id, target)
        same = other is target or other.origin == target.origin
        if not same:
            raise UseError(
                f"two sources give the id {target.model_id!r}: {other.source} and {target.source}; "
                "give one of them a `name` in its [[source]], or rename a folder"
            )
