"""The account of a repository's bytes: what each file is for, to the last byte. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.io.weight_files import is_weight_file

if TYPE_CHECKING:
    from zoo.formats.weight import Entry
    from zoo.io.header import TensorMeta
    from zoo.io.left_out import LeftOut


@dataclass(frozen=True, slots=True)
class ByteRow:
    """Some bytes of one file."""

    tensor: str
    """Name of the tensor they hold; the file's own name where they are no tensor."""
    fate: str
    """That of the tensor; `left_out`; `header` for what a file that is read holds beside its
    tensors; `other` for a file that holds no weights."""
    reason: str | None
    """Why, for every fate but `analysed`."""
    file: str
    nbytes: int
    """Bytes of the file that no row before this one accounts for: of tensors that share their
    bytes, the first has them."""


def byte_rows(
    tensors: Iterable[tuple[Entry, TensorMeta]],
    left_out: Iterable[LeftOut],
    files: Mapping[str, int],
) -> tuple[ByteRow, ...]:
    """One row a tensor, and one a file for the rest; `nbytes` adds up to all bytes of `files`."""
    unread = {left.file: left for left in left_out}
    by_file: dict[str, list[tuple[TensorMeta, Entry]]] = {}
    for entry, meta in tensors:
        for stored in meta.stored:  # of a tensor in pieces each has its row
            by_file.setdefault(stored.file, []).append((stored, entry))
    rows: list[ByteRow] = []
    for file, size in files.items():
        if file in unread:
            rows.append(ByteRow(file, "left_out", unread[file].reason, file, size))
            continue
        reached = covered = 0
        inside = sorted(by_file.get(file, ()), key=lambda pair: (pair[0].start, pair[0].end))
        for meta, entry in inside:
            own = max(0, meta.end - max(meta.start, reached))
            reached = max(reached, meta.end)
            covered += own
            rows.append(ByteRow(entry.tensor, entry.fate, entry.reason, file, own))
        if file in by_file or is_weight_file(file):
            rows.append(ByteRow(file, "header", "names, shapes and padding", file, size - covered))
        else:
            rows.append(ByteRow(file, "other", "holds no weights", file, size))
    return tuple(rows)
