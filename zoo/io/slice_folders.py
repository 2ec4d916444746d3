"""Folders of slices: what holds the slices of one model is one model, and a slice alone is none."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import CheckpointError
from zoo.io.file_names import shown
from zoo.io.slice_marks import SliceMark, slice_mark
from zoo.io.weight_files import WEIGHT_SUFFIXES, is_weight_file

_NANOTRON = ("checkpoint_metadata.json", "model")
"""What lies in a checkpoint of nanotron, which keeps every tensor in a folder of its own."""


def holds_slices(folder: Path) -> bool:
    """True when the subfolders are slices of one model, or its tensors."""
    names = _names(folder)
    if set(_NANOTRON) <= set(names):
        return True
    return any(_mark(name) for name in names if (folder / name).is_dir())


def refuse_slice(path: Path) -> None:
    """CheckpointError for a file or folder whose name says that it is a slice, beside the others."""
    mark = _mark(path.name)
    if mark is None or (path.is_file() and not is_weight_file(path.name)):
        return
    marks = {name: _mark(name) for name in _names(path.parent) if name != path.name}
    beside = [name for name, other in marks.items() if other and other.base == mark.base]
    if beside:
        raise CheckpointError(
            f"{shown(path.name)} is one slice of a model, beside "
            f"{', '.join(sorted(map(shown, beside))[:3])}; wanted the folder that holds all of them: "
            f"{shown(str(path.parent))}"
        )


def _mark(name: str) -> SliceMark | None:
    """What a name says that no whole copy has."""
    suffix = next((suffix for suffix in WEIGHT_SUFFIXES if name.endswith(suffix)), "")
    mark = slice_mark(name.removesuffix(suffix))
    return mark if mark is not None and mark.is_sure else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # whoever opens it says why
        return []
