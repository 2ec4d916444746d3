"""Pins what lies on this machine: a folder or a file to its fingerprint, a snapshot in the Hub's cache to
its commit.

Shared by the kinds of sources that may meet such a snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.sources.steps import revision_of, unread_revision
from jobs.sources.target import HubMetadata, Origin, Target, failure_of
from zoo.errors import ZooError
from zoo.io.configs import base_named_by_adapter
from zoo.io.hub_cache import Snapshot, snapshot_at
from zoo.io.local import LocalLocation, LocalStore

KIND = "folder"
"""The kind of source that lists again what lies on this machine."""


def target_of_snapshot(
    snapshot: Snapshot, *, source: str, step: int | None, family: str | None
) -> Target:
    """The model and revision that the Hub has under the same names. `source` is for people."""
    path = str(snapshot.folder)
    owner, slash, _ = snapshot.repo_id.partition("/")
    return pinned(
        Target(
            model_id=snapshot.repo_id,
            revision=snapshot.commit,
            location=None,
            source=source,
            step=step,
            family=family,
            metadata=HubMetadata(author=owner if slash else None),
            origin=Origin(KIND, path, snapshot.repo_id),
        )
    )


def pinned(target: Target) -> Target:
    """`target` with the revision of what lies at its path now, or with what is wrong there."""
    path = Path(target.origin.path)
    snapshot = snapshot_at(path)
    try:
        store = LocalStore(LocalLocation.of(path, model_id=target.model_id))
        try:
            location = store.pinned()
            nbytes = sum(store.files().values())
            named_base = base_named_by_adapter(store)
        finally:
            store.close()
    except (ZooError, OSError) as error:
        stand_in = unread_revision(path) if snapshot is None else snapshot.commit
        return replace(target, location=None, revision=stand_in, failure=failure_of(error))
    revision = location.revision or ""
    if snapshot is None:
        revision = revision_of(revision, target.step)
    return replace(
        target,
        location=replace(location, revision=revision),
        revision=revision,
        nbytes=nbytes,
        named_base=named_base,
    )
