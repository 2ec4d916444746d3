"""Text on a terminal: what may reach one, how many places it takes, and how it is cut to fewer."""

from __future__ import annotations

import shutil
import sys

UNBOUNDED = 1 << 30
"""Places of a line in a file."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
"""Stands where text was cut."""


def printable(text: str, *, keep: str = "") -> str:
    """`text` without the control characters of hostile names, but for those in `keep`.

    They must not reach a terminal, not even by way of a file that is looked at later.
    """
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def screen_width() -> int:
    """Places of a line on standard output; UNBOUNDED where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBOUNDED


def places(text: str) -> int:
    """How many places of a terminal the text takes: wide letters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def keep_start(text: str, width: int) -> str:
    """`text` in at most `width` (1 or more) places; its end is cut."""
    if places(text) <= width:
        return text
    while places(text) > width - 1:
        text = text[:-1]
    return text + ELLIPSIS


def keep_end(text: str, width: int) -> str:
    """`text` in at most `width` (1 or more) places; its start is cut, as names differ at their end."""
    if places(text) <= width:
        return text
    while places(text) > width - 1:
        text = text[1:]
    return ELLIPSIS + text
