"""Pictures to PNG files, in processes of their own: a figure takes a third of a second.

A worker is a fresh Python that gets its pictures pickled on standard input, from its parent alone. So
nothing of the parent's program runs again, as it would in the workers of multiprocessing.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from zoo.errors import UseError, ZooError
from zoo.pictures.album import Picture
from zoo.pictures.drawing import DPI

_PICTURES_A_WORKER: Final = 3
"""Fewer are not worth a worker, which takes half a second to start."""
_NO_FILE: Final = 3
"""Exit code of a worker that could not write; standard error says why."""


def print_pictures(pictures: Sequence[Picture], folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write every picture to `folder`, which is made if need be; their files by name.

    UseError when the folder cannot be written to.
    """
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(root, error.strerror) from error
    num_workers = min(_cores(), max(1, len(pictures) // _PICTURES_A_WORKER))
    shares = [pictures[i::num_workers] for i in range(num_workers)]
    workers = [_start() for _ in shares]
    try:
        for worker, share in zip(workers, shares, strict=True):
            assert worker.stdin is not None
            pickle.dump((str(root.absolute()), list(share)), worker.stdin)
            worker.stdin.close()
            worker.stdin = None  # so that communicate() does not write to it again
        ends = [(worker.communicate()[1], worker.returncode) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for said, code in ends:
        text = said.decode(errors="replace").strip()
        if code == _NO_FILE:
            raise _unwritable(root, text)
        if code:
            raise ZooError(f"drawing pictures failed: {text or f'exit code {code}'}")
    return {picture.name: root / f"{picture.name}.png" for picture in pictures}


def work() -> None:
    """What a worker does: draw and write what it is given."""
    folder, pictures = pickle.load(sys.stdin.buffer)
    for picture in pictures:
        figure = picture.draw()
        try:
            figure.savefig(Path(folder, f"{picture.name}.png"), dpi=DPI)
        except OSError as error:
            print(error.strerror or error, file=sys.stderr)
            sys.exit(_NO_FILE)


def _start() -> subprocess.Popen[bytes]:
    """A worker that imports what this process would."""
    code = f"import sys; sys.path = {sys.path!r}; from zoo.pictures.press import work; work()"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _unwritable(folder: Path, reason: str | None) -> UseError:
    return UseError(f"got {str(folder)!r} for pictures: {reason}; wanted a folder to write to")
