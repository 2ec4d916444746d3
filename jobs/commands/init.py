"""`zoo init`"""

from __future__ import annotations

from pathlib import Path


def init(path: Path = Path("sweep.toml"), *, quiet: bool = False) -> int:
    """Write a commented sweep spec to start from.

    Parameters
    ----------
    path
        File to write; one that is there is left alone.
    quiet
        Say nothing but errors.
    """
    import sys

    from jobs.spec.starting import COMMENTED
    from zoo.errors import UseError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(COMMENTED.format(name=path.name))
    except FileExistsError as error:
        raise UseError(f"{str(path)!r} is there; wanted a new file: zoo init OTHER.toml") from error
    except OSError as error:
        raise UseError(f"cannot write {str(path)!r}: {error.strerror}") from error
    if not quiet:
        print(f"wrote {path}; edit its sources, then: zoo plan {path}", file=sys.stderr)
    return 0
