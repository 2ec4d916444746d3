"""Which file names a checkpoint may use, and how any name is shown. Pure."""

from __future__ import annotations

import re

from zoo.errors import UnsafeError

_SMUGGLED = re.compile("[\udc80-\udcff]")
"""Bytes of a file's name that are no UTF-8, as Python carries them in a text."""
MAX_NAME_BYTES = 4096
"""A longer path is refused: the limit of Linux."""


def checked_name(name: str, *, said_by: str) -> str:
    """`name` if it is a relative posix path that stays inside its folder; else UnsafeError.

    `said_by` is the file that used the name, for the message.
    """
    parts = name.split("/")
    reason = None
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        reason = f"is empty or longer than {MAX_NAME_BYTES} bytes"
    elif any(ord(c) < 32 or c == "\\" or "\ud800" <= c <= "\udfff" for c in name):
        reason = "holds a control character, a backslash or half a character"
    elif name.startswith("/") or ":" in parts[0]:
        reason = "is absolute"
    elif any(part in ("", ".", "..") for part in parts):
        reason = "leaves the folder"
    if reason:
        raise UnsafeError(
            f"{said_by} names the file {name[:200]!r}, which {reason}; wanted a plain name "
            "inside the checkpoint's folder. Do not use this checkpoint"
        )
    return name


def is_hidden(name: str) -> bool:
    """True when any part of the path starts with a dot: caches and editor droppings."""
    return any(part.startswith(".") for part in name.split("/"))


def shown(name: str) -> str:
    """`name` with bytes that are no UTF-8 written as `\\xe9`: text that any file or screen takes.

    Python smuggles such bytes through file names as half characters, which nothing else can store.
    """
    written_out = _SMUGGLED.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name)
    return written_out.encode("utf-8", "backslashreplace").decode()
