"""`zoo demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_TRAJECTORY = """
    select step, train_accuracy, test_accuracy, mean_alpha, mean_abs_erg_log_ratio, total_traps,
        max_trap_excess, total_traps_ww, phase
    from trajectories where model_id = 'local/grokking-mlp' order by step
"""

_VERDICTS = """
    select count(*) filter (verdict = 'active'), count(*) filter (verdict = 'benign') from traps
"""
PERCEPTRONS = ("grokking-mlp", "mlp-*")
"""Models of the demo whose traps are probed: seconds, where the encoder takes minutes."""


def demo(
    out: Path = Path("demo"), /, *, runner: Literal["local", "ray"] = "ray", quiet: bool = False
) -> int:
    """Build a small real zoo (a sentence encoder, a network that groks, two twins), sweep it, rank it, write its site.

    Parameters
    ----------
    out
        Folder to build in.
    runner
        Ray on this machine, or a pool of processes.
    quiet
        Say nothing but errors and the leaderboards.
    """
    from catalog.read import views
    from catalog.read.boards import BOARDS, MIN_LAYERS, leaderboard
    from catalog.read.query import ask_rows
    from jobs.demo.build import build
    from jobs.demo.story import story
    from jobs.probe.choose import Which
    from jobs.probe.run import probe_catalog
    from jobs.screen.boards import print_board
    from jobs.screen.output import print_table
    from jobs.screen.progress import Progress
    from jobs.site.build import build_site
    from jobs.spec.load import load_spec
    from jobs.sweep.run import sweep_spec
    from zoo.probes.options import ProbeOptions

    progress = Progress(quiet=quiet)
    path = build(out, say=progress.say)
    spec, text = load_spec(path)
    spec = spec.model_copy(update={"run": spec.run.model_copy(update={"runner": runner})})
    catalog = spec.sweep.out or str(out / "catalog")
    result = sweep_spec(spec, text, out=catalog, overwrite="never", limit=None, quiet=quiet)
    probe_catalog(
        catalog,
        Which(models=PERCEPTRONS),
        ProbeOptions(num_probes=512, max_traps_per_layer=2),
        run=spec.run.model_copy(update={"runner": "local"}),
        progress=Progress(quiet=True),
    )
    shown = out / "catalog"
    with views.connect(catalog) as con:
        for board, least in (("traps", 3), ("alpha", MIN_LAYERS), ("alignment", MIN_LAYERS)):
            option = "" if least == MIN_LAYERS else f" --min-layers {least}"
            print(f"\n[zoo rank {board} {shown}{option}]")
            ranked = leaderboard(con, BOARDS[board], top=10, min_layers=least)
            told = 4 if board == "traps" else 0  # once: it is of the models and not of the board
            print_board(ranked, format="table", quiet=quiet, num_verdicts=told)
        print(
            "The run that groks, step by step: memorised, generalising, then declining under traps"
        )
        print_table(ask_rows(con, _TRAJECTORY), format="table", quiet=quiet)
        print("\nWhat to see in these five models, and why")
        print(story(con))
        (active, benign) = ask_rows(con, _VERDICTS).rows[0]
        print(
            f"\nProbes, random inputs through the perceptrons with one trap replaced: {active} of "
            f"{active + benign} traps\nchange the outputs more than ordinary modes do (active), {benign} do not "
            "(benign)   [zoo probe]"
        )
    site = build_site(catalog, out / "site", title="Spectral Zoo: the demo", say=progress.say)
    progress.say(
        f"""
The catalog is in {shown}. Next:
  zoo status {shown}
  zoo show {shown} local/all-minilm-l6-v2
  zoo sql {shown} "from trajectories where model_id = 'local/grokking-mlp' order by step"
  zoo sweep {path} --out {shown}        # again: everything is there, nothing is recomputed
As web pages, which open in any browser [zoo report {shown} --out {out / "site"}]:"""
    )
    print(site.index)
    return result.exit_code
