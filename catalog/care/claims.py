"""Numbers of generations in a bucket, each for one compaction alone.

A lease can be lost without a notice: a compaction that slept may wake up and go on writing. Were it
to write into the folder of its successor, rows would be there twice. So a run claims the number of
its generation by a file that can be created only once, and marks it when all is written. A claim that
is not marked belongs to a run that died, or may still wake up. Then the next run merges every
generation into its own, a greater one, which is the one that readers look at, whatever the other
writes or deletes. On this machine the kernel keeps two compactions apart, and nothing is claimed.
"""

from __future__ import annotations

import os
import secrets

from catalog.files.folder import Folder
from catalog.files.lock import still_ours

_CLAIMS = "generations"
"""Folder of the claims, within `Folder.aside`."""
_DONE = b"done"
"""What the claim of a run says that has written all its files."""


def claim(folder: Folder, lowest: int) -> tuple[int, bool]:
    """A number for the new generation, at least `lowest`; False beside it when another run did not
    finish. LeaseLostError when this one is no longer to run."""
    if folder.is_local:
        return lowest, True
    claims = {int(name): folder.read(*_path(folder, int(name))) for name in _claimed(folder)}
    number = max(lowest, max(claims, default=0) + 1)
    while not folder.create(
        f"{os.getpid()} {secrets.token_hex(8)}".encode(), *_path(folder, number)
    ):
        number += 1
    # after the claim: whoever takes our lease from here on sees it
    still_ours(folder)
    return number, all(text == _DONE for text in claims.values())


def finish(folder: Folder, number: int) -> None:
    """All files of the generation `number` are written, by us; older claims are of no use."""
    if folder.is_local:
        return
    folder.put(_DONE, *_path(folder, number))
    for name in _claimed(folder):
        if int(name) < number:
            folder.delete(*_path(folder, int(name)))


def give_back(folder: Folder, number: int) -> None:
    """Nothing was or will be written to the generation `number`, which we have claimed."""
    if not folder.is_local:
        folder.delete(*_path(folder, number))


def _claimed(folder: Folder) -> list[str]:
    return [name for name in folder.names(folder.aside, _CLAIMS) if name.isdigit()]


def _path(folder: Folder, number: int) -> tuple[str, ...]:
    return folder.aside, _CLAIMS, f"{number:06d}"
