"""Sweeps and probes an experiment's zoo with the code behind `zoo sweep` and `zoo probe`, and asks its catalog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.read import views
from catalog.read.query import ask_rows
from jobs.experiments.place import Place, Row
from jobs.probe.choose import Which
from jobs.probe.run import probe_catalog
from jobs.screen.progress import Progress
from jobs.spec.load import parse_spec
from jobs.sweep.run import sweep_spec
from zoo.errors import UseError
from zoo.probes.options import ProbeOptions

SHUFFLES = 5
"""Shuffles of each matrix, as many as in the papers' tool for small layers."""

_LAYERS = """
    select model_id, name, step, layer_index, tensor, alpha, num_traps, num_traps_tw, num_traps_ww,
        trap_excess_max, erg_delta, erg_log_ratio, matrix_entropy, abs_weight_entropy, l2_norm,
        weight_max_abs, num_tail, erg_num, quality_r_transform
    from (select l.*, split_part(l.model_id, '/', -1) as name from current_rows('layers') as l)
    where status = 'ok' order by name, step, layer_index
"""
_STEPS = """
    select split_part(model_id, '/', -1) as name, * from trajectories order by name, step
"""


def sweep(place: Place, sources: Sequence[str], *, name: str) -> None:
    """Sweep `sources` (tables of a spec, in TOML) into the catalog; what is there already is skipped.

    Raises UseError when a model failed.
    """
    text = (
        f'[sweep]\nname = "{name}"\n\n'
        + "\n".join(f"[[source]]\n{source}\n" for source in sources)
        + f"\n[traps]\nseed = 0\nreplicates = {SHUFFLES}\n"
    )
    (place.out / f"{name}.toml").write_text(text, encoding="utf-8")
    spec = parse_spec(text, folder=place.out, name=f"{name}.toml")
    spec = spec.model_copy(update={"run": place.run})
    result = sweep_spec(
        spec, text, out=str(place.catalog), overwrite="failed", limit=None, quiet=place.quiet
    )
    if result.interrupted:
        raise KeyboardInterrupt
    if result.num_failed:
        raise UseError(f"{result.num_failed} models failed; `zoo status {place.catalog}` says why")


def probe(place: Place, options: ProbeOptions, *, factory: str | None = None) -> None:
    """Probe every trap of the catalog, and measure sparsity and complexity of every network."""
    tally = probe_catalog(
        str(place.catalog),
        Which(without_traps=True),
        options,
        run=place.run.model_copy(update={"runner": "local"}),
        factory=factory,
        progress=Progress(quiet=place.quiet),
    )
    for model_id, why in tally.failed:
        place.progress.say(f"{model_id}: {why}")


def layers_of(place: Place) -> list[Row]:
    """Every measured layer of every step."""
    return ask(place, _LAYERS)


def steps_of(place: Place) -> list[Row]:
    """Every step of every run, as the view `trajectories` has it."""
    return ask(place, _STEPS)


def ask(place: Place, query: str, *, catalog: Path | None = None) -> list[Row]:
    """Rows of one query on the experiment's catalog, or on another one."""
    with views.connect(str(catalog or place.catalog)) as con:
        return ask_rows(con, query).to_pylist()


def trajectory_sources(names: Sequence[str]) -> list[str]:
    """`[[source]]` tables of the trajectories of these runs."""
    return [f"path = \"zoo/{name}/step*\"\nstep_pattern = 'step(\\d+)'" for name in names]
