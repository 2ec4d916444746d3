"""The cache of the Hub's own client, by the names of its folders: which repositories and commits it holds.

    <cache>/models--owner--name/refs/main             the commit that `main` named when it was fetched
    <cache>/models--owner--name/snapshots/<commit>/   links into blobs
    <cache>/models--owner--name/blobs/                the files, by their hash

Opens nothing but the refs. What a snapshot holds may be a part of the repository: what was fetched.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from zoo.errors import CheckpointError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_FOLDER: Final = re.compile(
    r"models--((?:[A-Za-z0-9_][\w.-]{0,95}?--)?[A-Za-z0-9_][\w.-]{0,95})", re.ASCII
)
"""A folder of the cache; `--` stands for the slash of the repository's id, which holds none."""
_OTHER_REPOSITORIES: Final = ("datasets--", "spaces--", "kernels--")
"""How folders of the cache begin that hold no model."""
_MAX_REF_BYTES: Final = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a repository, as far as it was fetched."""

    repo_id: str
    """`owner/name`, or `name`."""
    commit: str
    """40 hex digits."""
    folder: Path
    """Absolute path."""
    refs: tuple[str, ...]
    """Branches and tags that named this commit when they were last asked for, sorted."""


def repo_id_of(folder: Path) -> str | None:
    """The repository whose folder of the cache this is; None for any other folder. Decides by names:
    `models--owner--name` with a folder `snapshots` or `blobs` inside."""
    match = _FOLDER.fullmatch(folder.name)
    if match is None or match[1].count("--") > 1 or ".." in match[1]:
        return None
    if not any((folder / name).is_dir() for name in ("snapshots", "blobs")):
        return None
    return match[1].replace("--", "/")


def is_other_repository(folder: Path) -> bool:
    """True for the folder of a data set, of a space or of kernels in the cache."""
    return folder.name.startswith(_OTHER_REPOSITORIES) and (folder / "snapshots").is_dir()


def snapshot_at(folder: Path) -> Snapshot | None:
    """The snapshot that a folder is, by its own place; None for any other folder."""
    if not _COMMIT.fullmatch(folder.name) or folder.parent.name != "snapshots":
        return None
    repository = folder.parent.parent
    repo_id = repo_id_of(repository)
    if repo_id is None:
        return None
    refs = sorted(name for name, commit in _refs(repository).items() if commit == folder.name)
    return Snapshot(repo_id, folder.name, folder, tuple(refs))


def snapshots_of(repository: Path) -> tuple[Snapshot, ...]:
    """What a folder `models--owner--name` holds, by commit; empty when no download has ended."""
    try:
        names = sorted(os.listdir(repository / "snapshots"))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(error) from error
    inside = ((repository / "snapshots" / name) for name in names)
    return tuple(s for path in inside if path.is_dir() and (s := snapshot_at(path)) is not None)


def main_snapshot(repository: Path) -> Snapshot:
    """The one that `refs/main` names, else the only one.

    CheckpointError where there is none, or several and no `main` among them.
    """
    snapshots = snapshots_of(repository)
    main = [snapshot for snapshot in snapshots if "main" in snapshot.refs]
    if len(main or snapshots) == 1:
        return (main or snapshots)[0]
    if not snapshots:
        raise CheckpointError(
            f"{repository} is a folder of the Hub's cache without a snapshot: its download did not end; "
            "fetch the model again"
        )
    raise CheckpointError(
        f"{repository} holds {len(snapshots)} snapshots and no refs/main; wanted one: name one of "
        f"{', '.join(f'snapshots/{s.commit}' for s in snapshots[:3])}"
        f"{', ...' if len(snapshots) > 3 else ''}"
    )


def cached_repositories(folder: Path) -> tuple[Path, ...]:
    """The folders of repositories right in a folder, by name: in the cache's own, one a model."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith("models--"))
    except OSError:  # whoever opens it says so
        return ()
    return tuple(folder / name for name in names if repo_id_of(folder / name) is not None)


def cached_revisions(cache: Path, repo_id: str, pattern: str) -> tuple[tuple[str, Snapshot], ...]:
    """(name, snapshot) for a commit, or for each branch and tag that fits the glob; sorted by name."""
    snapshots = snapshots_of(_repository(cache, repo_id))
    named = [(ref, s) for s in snapshots for ref in s.refs if fnmatchcase(ref, pattern)]
    commits = [(s.commit, s) for s in snapshots if s.commit == pattern]
    return tuple(sorted(named or commits, key=lambda pair: pair[0]))


def named_revisions(cache: Path, repo_id: str) -> tuple[str, ...]:
    """What revisions of a repository the cache holds: branches, tags, and commits without either, sorted."""
    snapshots = snapshots_of(_repository(cache, repo_id))
    return tuple(sorted(name for s in snapshots for name in s.refs or (s.commit,)))


def _repository(cache: Path, repo_id: str) -> Path:
    return cache / f"models--{repo_id.replace('/', '--')}"


def _refs(repository: Path) -> dict[str, str]:
    """The commit by branch or tag; `pr/1` lies in a folder."""
    top = repository / "refs"
    refs: dict[str, str] = {}
    try:
        for folder, _, names in os.walk(top, onerror=_raise):
            for name in names:
                path = Path(folder, name)
                with path.open("rb") as file:
                    commit = file.read(_MAX_REF_BYTES).decode("ascii", "replace").strip()
                refs[path.relative_to(top).as_posix()] = commit
    except FileNotFoundError:  # a commit may be fetched by its hash: no ref
        return refs
    except OSError as error:
        raise _unreadable(error) from error
    return refs


def _raise(error: OSError) -> None:
    raise error


def _unreadable(error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{error.filename} in the Hub's cache cannot be read: {error.strerror}; wanted one that this user may read"
    )
