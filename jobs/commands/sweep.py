"""`zoo sweep SPEC|SOURCE... --out CATALOG`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.screen.typed import Place


def sweep(
    *sources: Place,
    out: Place | None = None,
    runner: Literal["local", "ray"] | None = None,
    address: str | None = None,
    workers: Annotated[int | None, Parameter(name=("--workers", "-j"))] = None,
    overwrite: Literal["never", "failed", "stale", "always"] = "never",
    limit: int | None = None,
    summary: Literal["md", "json"] | None = None,
    quiet: bool = False,
) -> int:
    """Measure every model of a spec, or of the sources named, that is not in the catalog yet.

    The same command again resumes.

    Exit codes: 0 done, 1 some models failed, 2 bad use, 75 interrupted (the same command resumes).

    Parameters
    ----------
    sources
        A sweep spec (TOML); or folders, weight files, URLs and Hub ids, perhaps `id@revision`.
    out
        Catalog: a folder or an fsspec URL. Wins over `[sweep] out`.
    runner
        Where the work runs: a pool of processes here, or Ray actors. Wins over `[run] runner`.
    address
        Address of a running Ray cluster; without it Ray is started on this machine.
    workers
        Number of workers, one mathematics thread each; default: one a core.
    overwrite
        never: only what is missing. failed: also what failed for good. stale: also what other package versions
        computed. always: everything.
    limit
        At most this many units.
    summary
        When all is over, print what the sweep came to: md (a page) or json (one line).
    quiet
        Say nothing but errors.
    """
    from jobs.errors import SpecError
    from jobs.spec.load import load_spec
    from jobs.spec.starting import spec_of_sources
    from zoo.io.addresses import address_of
    from zoo.io.nearby import in_words

    if len(sources) == 1 and sources[0].endswith(".toml"):
        parsed, text = load_spec(Path(sources[0]))
    else:
        parsed, text = spec_of_sources(sources, here=Path.cwd())
        for source in sources:
            if (
                not quiet
                and address_of(source, folder="").kind == "hub"
                and (near := in_words(source))
            ):
                print(
                    f"{source}: no such file or folder here; taken for a Hub id{near}",
                    file=sys.stderr,
                )
    run = parsed.run.model_copy(
        update={
            "runner": runner or parsed.run.runner,
            "address": address or parsed.run.address,
            "workers": parsed.run.workers if workers is None else workers,
        }
    )
    parsed = parsed.model_copy(update={"run": run})
    root = out or parsed.sweep.out
    if root is None:
        raise SpecError("sweep.out: missing; wanted a catalog folder, there or as --out CATALOG")
    if address is not None and run.runner != "ray":
        raise SpecError(
            f"--address: got {address!r} with the runner {run.runner!r}, which needs none; wanted --runner ray"
        )
    if limit is not None and limit < 0:
        raise SpecError(f"--limit: got {limit}; wanted 0 or more")
    if workers is not None and workers < 1:
        raise SpecError(f"--workers: got {workers}; wanted 1 or more")

    from jobs.sweep.run import sweep_spec

    result = sweep_spec(parsed, text, out=root, overwrite=overwrite, limit=limit, quiet=quiet)
    code = result.exit_code
    if parsed.probes.enabled and not result.interrupted:
        from jobs.probe.run import probe_sweep

        code = max(code, probe_sweep(parsed, root, result.model_ids, quiet=quiet))

    from jobs.sweep.summary import as_json, as_markdown, facts, last_line

    said = facts(result, catalog=root, name=parsed.sweep.name, exit_code=code)
    if summary is not None:
        print(as_json(said) if summary == "json" else as_markdown(said), flush=True)
    if not quiet and not sys.stderr.isatty():
        print(last_line(said), file=sys.stderr)
    return code
