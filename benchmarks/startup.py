"""How long the command line takes to answer questions about a small catalog, as whole processes.

    python -m benchmarks.startup [demo/catalog]

Without a catalog, one of six small models is swept for it. Runs are interleaved, so that a busy moment hits all alike;
printed are the fastest run and the median of each. Importing DuckDB is the floor: every question needs it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 0.45
"""What `zoo rank traps` may take on the demo's catalog."""


def main() -> int:
    """Measure and print; 1 when `zoo rank` took longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", nargs="?")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalog = args.catalog or sweep_small(Path(folder))
        commands = commands_on(catalog)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                seconds[name].append(whole_process(command))
    for name, times in seconds.items():
        print(f"{min(times):6.3f} s  (median {statistics.median(times):.3f})  {name}")
    return int(min(seconds["zoo rank traps"]) > LIMIT_S)


def commands_on(catalog: str) -> dict[str, list[str]]:
    """Command lines by what they are called in the output."""
    python, zoo = [sys.executable, "-c"], [sys.executable, "-m", "jobs"]
    model = first_model(catalog)
    return {
        "python -c pass": [*python, "pass"],
        "python -c 'import duckdb'": [*python, "import duckdb"],
        "python -c 'import zoo'": [*python, "import zoo"],
        "zoo --help": [*zoo, "--help"],
        "zoo rank traps": [*zoo, "rank", "traps", catalog],
        "zoo status": [*zoo, "status", catalog],
        "zoo show": [*zoo, "show", catalog, model],
        "zoo compare": [*zoo, "compare", catalog, model, model],
        "zoo sql (one view)": [*zoo, "sql", catalog, "select count(*) from layers_latest"],
        "zoo sql (show tables)": [*zoo, "sql", catalog, "show tables"],
        "zoo sql (timestamps)": [*zoo, "sql", catalog, "from models"],
    }


def first_model(catalog: str) -> str:
    """A model to ask for."""
    from catalog.read.query import ask_rows
    from catalog.read.views import connect

    with connect(catalog, only=("models",)) as con:
        ((model,),) = ask_rows(con, "select min(model_id) from models").rows
    return str(model)


def sweep_small(root: Path) -> str:
    """A catalog of six models of three layers."""
    from tests.models import small_zoo

    spec = small_zoo(root, models=6)
    command = [sys.executable, "-m", "jobs", "sweep", str(spec), "--out", str(root / "catalog")]
    subprocess.run([*command, "--quiet"], check=True)
    return str(root / "catalog")


def whole_process(command: list[str]) -> float:
    """Seconds from start to end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
