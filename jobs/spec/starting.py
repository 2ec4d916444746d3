"""Specs that nobody wrote: of sources named on the command line, and the commented one that `zoo init` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import SpecError
from jobs.spec.load import parse_spec
from jobs.spec.tables import Spec
from zoo.io.addresses import address_of

COMMENTED = """\
# A sweep spec. `zoo plan {name}` says what it would do, `zoo sweep {name}` does it; the same command
# again resumes, and skips what is there. docs/spec.md lists every key.

[sweep]
name = "nightly"                        # keep it from night to night
out = "results"                         # the catalog: a folder or a bucket (s3://...); --out wins

[[source]]
path = "checkpoints/*"                  # folders or weight files, relative to this file
# step_pattern = 'step(\\d+)'            # they are steps of one model: a trajectory

# [[source]]
# hub = "owner/name"                    # one repository of the Hub
# revision = "main"

# [[source]]
# hub = "EleutherAI/pythia-70m"
# revisions = "step*"                   # branches and tags: a trajectory

# [[source]]
# query = {{ author = "Qwen", sort = "downloads", limit = 50, max_params = "8B" }}

[layers]
# include = ["*"]                       # globs on tensor names
# exclude = []
# metrics = "all"                       # or "tail": norms and the power-law tail alone, four times faster
# deltas = true                         # also W - W_base, where a fine-tune's base model is known
# experts = "all"                       # or "sample:4": four experts of each block

[traps]
seed = 0
# replicates = "auto"                   # shuffles a layer; a number fixes it

[run]
runner = "local"                        # a pool of processes here; "ray": actors, here or at an address
# workers = 8                           # default: one a core
# memory = "4GB"                        # of one worker
"""


def spec_of_sources(sources: Sequence[str], *, here: Path) -> tuple[Spec, str]:
    """The spec of a sweep over `sources`: folders, weight files, URLs and Hub ids; and its text.

    SpecError when there is none, or one of them is a spec, which goes alone.
    """
    if not sources:
        raise SpecError(
            "got no source; wanted a sweep spec (TOML), folders, weight files or Hub ids"
        )
    specs = [source for source in sources if source.endswith(".toml")]
    if specs:
        raise SpecError(f"got {specs[0]!r} among other sources; a sweep spec goes alone")
    lines = ["[sweep]", 'name = "sweep"']
    for source in sources:
        address = address_of(source, folder=os.fspath(here))
        lines.append("[[source]]")
        if address.kind == "hub":
            lines.append(f"hub = {_quoted(address.place)}")
            if address.revision:
                lines.append(f"revision = {_quoted(address.revision)}")
        else:
            lines.append(f"path = {_quoted(address.place)}")
    text = "\n".join(lines) + "\n"
    return parse_spec(text, folder=here, name="the command line"), text


def _quoted(text: str) -> str:
    """A basic string of TOML, which takes JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)
