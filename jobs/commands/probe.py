"""`zoo probe CATALOG [MODEL...]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import ModelName, Place

COLUMNS = ("verdict", "traps")


def probe(
    catalog: Place,
    *models: ModelName,
    family: str | None = None,
    top: int | None = None,
    again: bool = False,
    diagnostics: bool = False,
    num_probes: int = 1024,
    temperature: float = 1.0,
    max_traps_per_layer: int = 4,
    position: Literal["last", "all"] = "last",
    length: int | None = None,
    budget_s: float | None = None,
    seed: int = 0,
    factory: str | None = None,
    data: Path | None = None,
    ablate: str | None = None,
    save: Path | None = None,
    runner: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: Annotated[int | None, Parameter(name=("--workers", "-j"))] = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    gpus: float = 0.0,
    memory: str | None = None,
    format: Format = "table",
    shown: Shown = AS_USUAL,
    quiet: bool = False,
) -> int:
    """Tell harmful traps from benign ones: random inputs through the network, each trap replaced in turn.

    J is the Jensen-Shannon divergence of the outputs. A trap is active when J lies above what the same
    replacement of bulk modes gives. The verdicts go into the table `traps`; the same command again
    probes what is left.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog. The weights are read again from where they were swept.
    models
        Globs on model ids; none: every model with traps.
    family
        Only models of this family.
    top
        Only so many models, those with most traps a layer.
    again
        Also traps that were probed before.
    diagnostics
        Also activation sparsity and circuit complexity, columns of `models`; of models without traps too.
    num_probes
        Random inputs.
    temperature
        Temperature of the softmax.
    max_traps_per_layer
        Most traps of a layer that are probed, largest first; the rows of the others say so.
    position
        Position of a sequence whose logits are compared.
    length
        Tokens of a probe; default: 32, or as many as the network takes.
    budget_s
        Seconds after which no further layer of a model is begun; the rows of the others say so.
    seed
        Of the inputs and the random matrices.
    factory
        package.module:function that makes the network from config.json; imported and run.
    data
        Your own inputs in place of random ones: .npz, .npy, .safetensors or .parquet with arrays that go by the
        names of the network's inputs (input_ids, pixel_values, ...), a row a probe.
    ablate
        LAYER:TRAP[,...]: probe nothing, but write the one model named to --save without these traps. LAYER is
        the name or number of a layer, TRAP its trap_index.
    save
        A new folder for the weights without the traps of --ablate; settings and card are copied.
    runner
        Where the work runs: a pool of processes here, or Ray actors.
    address
        Address of a running Ray cluster.
    workers
        Number of workers, one mathematics thread each; default: one a core.
    device
        Where the networks run; auto takes CUDA where there is one.
    gpus
        Share of a GPU that each Ray actor reserves.
    memory
        Memory of a worker, such as 24GB; default: what the machine leaves.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from pydantic import ValidationError

    from jobs.errors import SpecError
    from jobs.probe.choose import Which
    from jobs.probe.run import probe_catalog
    from jobs.screen.output import print_rows
    from jobs.screen.progress import Progress
    from jobs.spec.tables import RunTable
    from zoo.probes.options import ProbeOptions

    if workers is not None and workers < 1:
        raise SpecError(f"--workers: got {workers}; wanted 1 or more")
    if top is not None and top < 1:
        raise SpecError(f"--top: got {top}; wanted 1 or more")
    options = ProbeOptions(
        num_probes=num_probes,
        temperature=temperature,
        max_traps_per_layer=max_traps_per_layer,
        position=position,
        length=length,
        budget_s=budget_s,
        seed=seed,
    )
    progress = Progress(quiet=quiet)
    if ablate is not None or save is not None:
        from jobs.probe.repair import parse_ablated, save_without

        if ablate is None or save is None or len(models) != 1:
            raise SpecError("--ablate, --save: wanted both, and one model: CATALOG MODEL")
        for line in save_without(catalog, models[0], parse_ablated(ablate), save):
            progress.say(f"replaced {line}")
        return 0
    table: dict[str, object] = {
        "runner": runner,
        "address": address,
        "workers": workers,
        "device": device,
        "gpus": gpus,
        "memory": memory,
    }
    try:
        run = RunTable.model_validate(table)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise SpecError(f"--{wrong['loc'][0]}: {wrong['msg']}") from error
    tally = probe_catalog(
        catalog,
        Which(models, family, top, again, without_traps=diagnostics),
        options,
        run=run,
        factory=factory,
        data=None if data is None else str(data),
        progress=progress,
    )
    print_rows(
        tally.rows(), columns=COLUMNS, format=format, quiet=quiet, shown=shown, first=COLUMNS
    )
    for reason, count in tally.reasons.most_common(10):
        progress.say(f"{count} traps: {reason}")
    for model_id, why in tally.failed:
        progress.say(f"{model_id}: {why}")
    return 1 if tally.failed else 0
