"""Folders and weight files near here that have the name somebody typed: a path that was forgotten.

Looks at names alone, level by level, and stops after so many entries: a suggestion has to be quick, and
nothing is decided by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from zoo.io.other_files import is_surely_a_model
from zoo.io.weight_files import is_model_file

_DEPTH: Final = 4
"""Levels below the folder that are looked at."""
_MAX_ENTRIES: Final = 20_000
"""Entries that are looked at, all folders together: some 0.1 s."""
_MAX_SUGGESTIONS: Final = 3
_NEVER: Final = frozenset({"node_modules", "site-packages", "__pycache__"})
"""Folders of many names, none of which is a model's."""


def nearby(text: str, folder: str = ".") -> tuple[str, ...]:
    """Paths, relative to `folder`, whose last part is that of `text`; the nearest first, three at most.

    Capitals, the ending of a weight file and a revision behind an `@` make no difference. Looked at are
    four levels below `folder` and what stands beside it.
    """
    wanted = _bare(os.path.basename(text.partition("@")[0].rstrip("/")))
    if not wanted:
        return ()
    matches: list[str] = []
    for path in _entries(folder):
        if _bare(os.path.basename(path)) == wanted:
            matches.append(os.path.relpath(path, folder))
            if len(matches) == _MAX_SUGGESTIONS:
                break
    return tuple(matches)


def in_words(text: str, folder: str = ".") -> str:
    """What to add to a message about `text`; empty when there is nothing of that name nearby."""
    paths = nearby(text, folder)
    return f". Did you mean {' or '.join(paths)}?" if paths else ""


def _bare(name: str) -> str:
    """A name without the ending of a weight file, in small letters."""
    stem, ending = os.path.splitext(name)
    return (stem if ending and _is_file_of_a_model(name) else name).lower()


def _entries(folder: str) -> Iterator[str]:
    """Folders and weight files below `folder`, level by level, then those beside it."""
    level, left = [folder], _MAX_ENTRIES
    for _ in range(_DEPTH):
        below: list[str] = []
        for place in level:
            for entry in _inside(place):
                left -= 1
                if left < 0:
                    return
                if _is_folder(entry):
                    yield entry.path
                    if not entry.is_symlink() and entry.name not in _NEVER:
                        below.append(entry.path)
                elif _is_file_of_a_model(entry.name):
                    yield entry.path
        level = below
    for entry in _inside(os.path.join(folder, os.pardir)):
        left -= 1
        if left < 0:
            return
        if _is_folder(entry) or _is_file_of_a_model(entry.name):
            yield entry.path


def _inside(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder by name, but for hidden entries; nothing where it cannot be looked into."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        return []


def _is_file_of_a_model(name: str) -> bool:
    return is_model_file(name) or is_surely_a_model(name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
