"""A file read in blocks that are kept: for directories that hop about in it, where a read may be a request."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from zoo.io.files import ByteFile, read_bytes

_BLOCK_BYTES: Final = 16 << 10
"""Bytes of a block: a header or a node of a tree, and not much of the weights beside it."""
_MAX_BLOCKS: Final = 1024
"""Blocks that are kept, the last used ones: 16 MiB."""


class BlockFile:
    """See `ByteFile`. Large reads go to the file itself."""

    def __init__(self, file: ByteFile) -> None:
        self.name, self.size = file.name, file.size
        self._file = file
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        if len(buffer) > 4 * _BLOCK_BYTES or start < 0 or start + len(buffer) > self.size:
            self._file.read_into(start, buffer)  # which says what is wrong with the range
            return
        done = 0
        while done < len(buffer):
            number, offset = divmod(start + done, _BLOCK_BYTES)
            piece = self._block(number)[offset : offset + len(buffer) - done]
            buffer[done : done + len(piece)] = piece
            done += len(piece)

    def close(self) -> None:
        """See `ByteFile.close`."""
        self._blocks.clear()
        self._file.close()

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * _BLOCK_BYTES
            length = min(_BLOCK_BYTES, self.size - start)
            self._blocks[number] = read_bytes(self._file, start, length)
            if len(self._blocks) > _MAX_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]
