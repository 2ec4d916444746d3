"""`zoo hub serve DIR`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8642,
    fault: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    redirect: bool = False,
    writable: bool = False,
    token: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
) -> int:
    """Serve a folder of checkpoints with the Hub's own protocol, until Ctrl-C.

    Point any Hub client at it with HF_ENDPOINT=http://127.0.0.1:8642. Repositories are the folders
    `DIR/<owner>/<name>`.

    Parameters
    ----------
    folder
        Folder of repositories.
    host
        Address to listen on.
    port
        Port; 0 picks a free one.
    fault
        Misbehave, for tests: `KIND` or `KIND:match=GLOB,after=N,times=N`; may be given again.
    redirect
        Send large files from a second origin, through signed links, as the Hub does.
    writable
        Take commits: a token may also write to the repositories that it opens, and make datasets and Spaces, as
        `zoo publish` does (in `.datasets` and `.spaces` of the folder).
    token
        `TOKEN=GLOB`: this token opens the gated or private repositories that fit; may be given again.
    """
    from zoo.errors import UseError
    from zoo.loopback.faults import parse_fault
    from zoo.loopback.server import run

    if not 0 <= port <= 65535:
        raise UseError(f"--port: got {port}; wanted 1 to 65535, or 0 for a free one")
    tokens: dict[str, tuple[str, ...]] = {}
    for number, pair in enumerate(token):
        name, equals, glob = pair.partition("=")
        if not (name and equals and glob):
            raise UseError(f"--token number {number + 1}: wanted TOKEN=GLOB, such as t0ken=owner/*")
        tokens[name] = (*tokens.get(name, ()), glob)

    def started(url: str) -> None:
        print(
            f"serving {folder} at {url}; HF_ENDPOINT={url} points clients here; Ctrl-C stops",
            file=sys.stderr,
            flush=True,
        )

    run(
        folder,
        host,
        port,
        [parse_fault(text) for text in fault],
        redirect=redirect,
        writable=writable,
        tokens=tokens,
        on_start=started,
    )
    return 0
