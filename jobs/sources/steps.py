"""Trajectories: the training step in a path, and the revisions that steps make. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeVar

from jobs.sources.registry import Say
from zoo.errors import UseError
from zoo.io.file_names import shown

P = TypeVar("P", bound=PurePath)
"""A path of any kind."""


def step_of(path: PurePath, pattern: re.Pattern[str] | None) -> int | None:
    """The number that `pattern` finds in the last part of `path`, else in all of it."""
    if pattern is None:
        return None
    match = pattern.search(path.name) or pattern.search(str(path))
    try:
        return int(match[1]) if match else None
    except (TypeError, ValueError):  # the group took no part, or holds no number
        return None


def with_steps(models: Sequence[P], pattern: re.Pattern[str], where: str, say: Say) -> list[P]:
    """The models of a trajectory: those whose path tells a step. UseError when none does."""
    wanted = [model for model in models if step_of(model, pattern) is not None]
    left = [shown(model.name) for model in models if step_of(model, pattern) is None]
    if not wanted:
        raise UseError(
            f"{where}.step_pattern: got {pattern.pattern!r}, which finds a number in none of "
            f"{len(models)} paths such as {str(models[0])!r}; wanted one group around the digits of "
            f"the step, like 'step(\\d+)'"
        )
    if left:
        say(
            f"{where}.step_pattern: left out {len(left)} of {len(models)} that name no step: "
            f"{', '.join(left[:3])}{', ...' if len(left) > 3 else ''}"
        )
    return wanted


def revision_of(fingerprint: str, step: int | None) -> str:
    """Two steps may hold the same bytes; they are two revisions all the same."""
    if step is None:
        return fingerprint
    return hashlib.blake2b(f"{fingerprint} step {step}".encode(), digest_size=20).hexdigest()


def unread_revision(path: PurePath) -> str:
    """Stands in for the fingerprint of something that cannot be read, so that its failure has a key."""
    return hashlib.blake2b(f"unread {shown(path.name)}".encode(), digest_size=20).hexdigest()
