"""A spec in the hand, a catalog to fill: lock, list, choose the runner, sweep, say what came
out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from catalog.errors import DiskFullError, StorageError
from catalog.files.lock import sweep_lock
from catalog.write.commits import prepare
from jobs.runners.starting import start_runner
from jobs.screen.progress import Progress, hear_hub
from jobs.spec.tables import Spec
from jobs.sweep.ledger import Ledger, Overwrite
from jobs.sweep.loop import SweepResult, run_sweep
from jobs.sweep.work import MEASURING
from jobs.units.listed import units_of
from zoo.errors import UseError

if TYPE_CHECKING:
    from jobs.runners.protocol import Runner
    from jobs.sweep.task_rows import TaskRows
    from jobs.units.unit import Task

MANY_UNITS = 1000
"""A sweep of more units than this ends with a word on compaction."""


def sweep_spec(
    spec: Spec, text: str, *, out: str, overwrite: Overwrite, limit: int | None, quiet: bool
) -> SweepResult:
    """Run the sweep `spec` into the catalog `out`. Raises UseError, CatalogError."""
    progress = Progress(quiet=quiet)
    hear_hub(progress)
    with _locked(out, spec.sweep.name, progress):
        units = units_of(spec, progress.say)
        kinds = {origin.kind for unit in units for origin in unit.target.origins}
        ledger = Ledger(out, name=spec.sweep.name, spec_text=text)

        def start() -> Runner[Task, TaskRows]:
            runner = start_runner(MEASURING, spec.run, asks_hub="hub" in kinds, on_cards=True)
            if spec.run.runner == "ray":
                from jobs.runners.ray_metrics import RayMeter

                progress.meter = RayMeter(spec.sweep.name)
            return runner

        try:
            result = run_sweep(
                spec,
                ledger=ledger,
                units=units,
                start_runner=start,
                overwrite=overwrite,
                limit=limit,
                progress=progress,
            )
        finally:
            progress.end()  # or what went wrong would be said into the bar's pipe
    _say_result(result, out, progress)
    return result


@contextmanager
def _locked(out: str, name: str, progress: Progress) -> Iterator[None]:
    """The catalog, made and locked. One that cannot be written is bad use, said before any work."""
    with ExitStack() as stack:
        try:
            prepare(out)
            stack.enter_context(sweep_lock(out, name, say=progress.say))
        except DiskFullError:  # no fault of the command: the same one goes on when there is room
            raise
        except StorageError as error:
            raise UseError(str(error)) from error
        yield


def _say_result(result: SweepResult, out: str, progress: Progress) -> None:
    before = f", {result.num_failed_before} failed before" if result.num_failed_before else ""
    taken = (
        f" ({result.num_taken_over} of equal weights taken over)" if result.num_taken_over else ""
    )
    summary = (
        f"sweep {result.sweep_id}: {result.num_done} done{taken}, "
        f"{result.num_skipped} skipped (already in the catalog), "
        f"{result.num_failed} failed{before}, {result.seconds:.1f} s; catalog: {out}"
    )
    if result.interrupted:
        summary += "; interrupted, the same command resumes"
    progress.say(summary)
    if result.num_done + result.num_skipped > MANY_UNITS:
        progress.say(f"many small files: `zoo compact {out}` makes queries faster")
