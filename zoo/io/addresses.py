"""What a text that names a model means: a URL, a path on this machine, or a repository on the Hub.

The one place that decides. Opens nothing; looks at most whether a path exists.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from zoo.io.other_files import OTHER_SUFFIXES
from zoo.io.weight_files import WEIGHT_SUFFIXES

_FILES = (*WEIGHT_SUFFIXES, *(end for ends in OTHER_SUFFIXES.values() for end in ends))
"""Endings of files, which no repository's id has."""
Kind = Literal["url", "path", "hub"]
"""Where the text points to."""


@dataclass(frozen=True, slots=True)
class Address:
    """A text that names a model, understood."""

    kind: Kind
    place: str
    """The URL, the path, or the repository (`owner/name`)."""
    revision: str | None = None
    """What stood behind the `@` of a repository; None when nothing did."""


def is_url(text: str) -> bool:
    """True for `protocol://...`."""
    return "://" in text


def names_hub(text: str) -> bool:
    """True for what is no path or URL and may name a repository: `owner/name`, `name`, perhaps
    `@revision`. Looks at the text alone, never at the disk."""
    repo = text.partition("@")[0]
    is_path = repo.startswith((".", "/", "~")) or repo.endswith(_FILES)
    return bool(repo) and not is_url(text) and repo.count("/") < 2 and not is_path


def address_of(text: str, *, folder: str | None = None) -> Address:
    """What `text` means.

    With `folder`, what exists there (or is an absolute path that exists) is a path, whatever it
    looks like: `owner/name` may be a folder, `name` a link that leads nowhere. Without, the form of
    the text decides alone. The `place` of a path is joined to `folder`; whether anything lies there
    is not said.
    """
    if is_url(text):
        return Address("url", text)
    path = os.path.join(folder or "", os.path.expanduser(text))
    if (folder is not None and os.path.lexists(path)) or not names_hub(text):
        return Address("path", path)
    repo, _, revision = text.partition("@")
    return Address("hub", repo, revision or None)
