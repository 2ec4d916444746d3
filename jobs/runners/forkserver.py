"""The process that workers can be forked from: it imports what they need once, so that they start
in no time.

Only for work that does not load torch, whose threads do not survive a fork.
"""

from __future__ import annotations

from multiprocessing import forkserver


def start_forkserver(*modules: str) -> None:
    """Start it now, while the caller does something else, and let it import `modules`.

    Does nothing where one runs already, which has imported what it was told first.
    """
    forkserver.set_forkserver_preload(list(modules))
    forkserver.ensure_running()
