"""Git LFS pointers: the small text files that a clone without git-lfs has in place of large ones."""

from __future__ import annotations

from zoo.errors import CheckpointError
from zoo.io.files import ByteFile, read_bytes

_START = b"version https://git-lfs.github.com/spec/"
"""What every pointer starts with."""
_MAX_BYTES = 1024
"""No pointer is larger: it holds a digest and a size."""


def refuse_pointer(file: ByteFile) -> None:
    """CheckpointError when `file` is a pointer. Reads only files small enough to be one."""
    if len(_START) <= file.size <= _MAX_BYTES and read_bytes(file, 0, len(_START)) == _START:
        raise CheckpointError(
            f"{file.name} is a Git LFS pointer, not the file it stands for; wanted the file. Run "
            "`git lfs pull` in the clone, or download it from the Hub"
        )
