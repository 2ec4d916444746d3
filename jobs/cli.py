"""The commands of `zoo` by name. Each lives in its own file and is imported only when it is called."""

from __future__ import annotations

from cyclopts import App, Parameter


def _version() -> str:
    import importlib.metadata  # slow to load, and no other command wants it

    return importlib.metadata.version("spectral-zoo")


app = App(
    name="zoo",
    help="Learn from the weights alone which models and layers are well trained, over-fitted or under-trained.",
    help_epilogue="Exit codes: 0 done, 1 some models failed, 2 bad use, 75 interrupted and resumable. Rows go to "
    "standard output, everything else to standard error. `zoo COMMAND --help` says more.",
    version=_version,
    default_parameter=Parameter(negative=()),  # no --no-quiet, no --empty-token
    suppress_keyboard_interrupt=False,  # `jobs.__main__` answers it with exit code 75
)

_COMMANDS = {
    "analyze": "One model, no cluster: a table of its layers.",
    "plan": "Headers only: models, layers, bytes, estimated cost, unsupported tensors.",
    "init": "Write a commented sweep spec to start from.",
    "sweep": "The main job: measure every model of a spec, or of the sources named, into a catalog.",
    "status": "What a catalog holds: listed, done, failed by cause, missing, cost.",
    "rank": "Leaderboards: traps, alignment, alpha, composite, ...",
    "ls": "The models of a catalog.",
    "show": "One model's layers.",
    "compare": "Two models side by side.",
    "sql": "DuckDB over the catalog, all views registered; a prompt without a query.",
    "ask": "Named questions: outliers, base against fine-tune, what moved, coverage, cost, ...",
    "report": "A catalog as web pages that open from a disk or any host.",
    "publish": "Tables, boards, card and web pages to the Hub, a folder or a bucket.",
    "similar": "The models nearest to one by their spectra: base, fine-tunes, twins.",
    "export": "Layers to train, learning rates, pruning ratios of one model, by published rules.",
    "gate": "Check a model against limits; exit 1 with the layers that break them.",
    "probe": "Random inputs through the networks: which traps matter.",
    "refit": "Tail, edge and ERG numbers again, from the stored spectra alone.",
    "compact": "Merge a catalog's small files.",
    "prune": "Give up units that no sweep lists any more; compaction deletes them.",
    "check": "Audit a catalog: torn, orphan, duplicate or schema-breaking files.",
    "doctor": "Versions, devices, memory, disk, Ray, the Hub.",
    "experiment": "The papers' experiments: train, sweep, probe, and our numbers beside theirs.",
    "demo": "Build a small real zoo, sweep it, rank it.",
}

for _name, _help in _COMMANDS.items():
    app.command(f"jobs.commands.{_name}:{_name}", name=_name, help=_help)

_hub = App(name="hub", help="A folder of checkpoints served with the Hub's own protocol.")
_hub.command("jobs.commands.hub_serve:serve", name="serve", help="Serve a folder until Ctrl-C.")
app.command(_hub)

app.command(
    "jobs.completion:completion",  # stands above this file, as it asks it for all commands
    name="completion",
    help="Make your shell complete commands, files and models.",
)
