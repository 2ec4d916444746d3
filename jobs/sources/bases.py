"""Adapters read with their base model: which one, pinned like any other target.

The base is what the source says (`base`), else, of an adapter in a local folder, the target of the same
spec whose id is the `base_model_name_or_path` of its adapter_config.json.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.sources.target import Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import CheckpointError, NotFoundError
from zoo.io.configs import MAX_CONFIG_BYTES, parse_config
from zoo.io.paired import PairedLocation

Find = Callable[[Source], Sequence[Target]]


def base_target(source: Source, find: Find) -> Target | None:
    """The base model a source names, or None when it names none."""
    if source.base is None:
        return None
    if os.path.exists(source.base) or "://" in source.base:
        asked = Source(path=source.base)
    else:
        repo, _, revision = source.base.partition("@")
        asked = Source(hub=repo, revision=revision or "main", endpoint=source.endpoint)
    found = list(find(asked))
    if len(found) == 1:
        return found[0]
    told = failure_of(NotFoundError(f"base {source.base!r}: {len(found)} models; wanted one"))
    return Target(source.base, "", None, f"base:{source.base}", failure=told)


def on_base(target: Target, base: Target | None) -> Target:
    """The target, read together with its base model."""
    if base is None or target.failure is not None:
        return target
    if base.failure is not None:
        told = replace(base.failure, message=f"base model: {base.failure.message}")
        return replace(target, failure=told)
    assert target.location is not None and base.location is not None
    return replace(
        target,
        location=PairedLocation(target.location, base.location),
        base_revision=base.revision,
        nbytes=target.nbytes + base.nbytes,
    )


def named_base(target: Target, others: Sequence[Target]) -> Target | None:
    """The target that a local adapter's own configuration names as its base."""
    file = Path(target.origin) / "adapter_config.json"
    try:
        if file.is_symlink() or file.stat().st_size > MAX_CONFIG_BYTES:
            return None
        found = parse_config(file.read_bytes(), file=file.name)
    except (OSError, CheckpointError):
        return None
    name = found.get("base_model_name_or_path") if isinstance(found, dict) else None
    fitting = [t for t in others if t.model_id == name and t is not target]
    return fitting[0] if fitting else None
