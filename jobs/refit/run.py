"""Refit: numbers that follow from stored spectra, computed anew without touching a weight.

Units are read in batches from the files they lie in, their layers recomputed (here, or by a pool of
processes with one mathematics thread each), and a unit whose numbers moved is committed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from catalog.errors import DiskFullError
from catalog.files.folder import Folder
from catalog.files.layout import check_marker
from catalog.files.lock import compact_lock
from catalog.read import views
from catalog.read.definitions import columns_statement
from catalog.read.lacking import lacking
from catalog.read.stored_units import KEYS, UnitFiles, register
from catalog.schema.keys import UNIT
from catalog.write.names import UnitKey
from jobs.errors import WorkerDiedError
from jobs.refit.columns import EXTRAS, INPUTS, OWN, RAND, TRAP_TEST, LayerChange
from jobs.refit.pen import Pen, refitted
from jobs.refit.plan import LeftOut, RefitUnit, refit_units
from jobs.refit.slice import REFITTING, Recomputed, Slice, refit_slice
from jobs.runners.feeder import Feeder
from jobs.runners.forkserver import start_forkserver
from jobs.runners.local import LocalRunner
from jobs.spec.tables import Spec
from zoo.errors import ZooError
from zoo.machine.threads import set_threads

NAME = "refit"
"""Name of its sweeps in the table `sweeps`."""
POOL_ABOVE = 1500
"""Layers up to which starting worker processes costs more than it saves."""
_BATCH_LAYERS = 4096
"""Layers of the units that are read, computed and written together."""
_BATCH_UNITS = 512
"""Most units that are read, computed and written together."""
_SLICE = 64
"""Layers a worker gets at a time."""
_READ = 512
"""Layers that are read at a time."""
_PENDING = 64
"""Slices handed to workers and not yet back."""
_STORED = tuple(dict.fromkeys((*INPUTS, *OWN, *EXTRAS, *RAND, *TRAP_TEST)))
"""Columns of `layers` that are read."""
_SPECTRA = ("eigenvalues", "scale_exponent", "rand_eigenvalues", "rand_scale_exponent")
"""Columns of `spectra` that are read."""

Crew = Feeder[Slice, Recomputed | ZooError]
"""The worker processes, which compute slices of layers."""


@dataclass(slots=True)
class Tally:
    """What a refit computed, and did."""

    num_units: int = 0
    num_layers: int = 0
    num_moved_layers: int = 0
    num_written: int = 0
    """Units committed (in a dry run: that would have been)."""
    left: list[LeftOut] = field(default_factory=list)
    """Units that have to be swept again instead."""
    compared: Counter[str] = field(default_factory=Counter)
    """Layers, by column."""
    moved: Counter[str] = field(default_factory=Counter)
    """Layers whose number is not the stored one to the last bit, by column."""
    largest: dict[str, float] = field(default_factory=dict)
    """Largest relative change, by column."""

    @property
    def num_moved(self) -> int:
        """Numbers that are not what was stored."""
        return sum(self.moved.values())

    def rows(self) -> list[dict[str, object]]:
        """One row per recomputed column."""
        return [
            {
                "column": name,
                "compared": self.compared[name],
                "moved": self.moved[name],
                "largest_change": self.largest.get(name),
            }
            for name in (*OWN, *EXTRAS, *RAND, *TRAP_TEST)
            if self.compared[name]
        ]

    def add(self, result: Recomputed) -> None:
        """Count the layers of one slice."""
        self.num_layers += result.num_layers
        self.num_moved_layers += sum(bool(c.columns) for c in result.changes.values())
        self.compared += result.compared
        self.moved += result.moved
        for name, change in result.largest.items():
            self.largest[name] = max(change, self.largest.get(name, 0.0))


def refit_catalog(
    root: str, *, spec: Spec | None, spec_text: str, workers: int, dry_run: bool
) -> Tally:
    """Recompute every unit of the catalog `root`, or its newest ones under the options of `spec`.

    LockedError while a compaction or another refit runs. Safe beside a sweep.
    """
    tally = Tally()
    set_threads(1)
    if workers > 1:
        start_forkserver("jobs.refit.slice")  # imports for a second, while the catalog is read
    with ExitStack() as stack:
        folder = Folder.parse(root)
        check_marker(folder)  # before the lock, whose file would be left in any folder
        stack.enter_context(compact_lock(root))
        con = stack.enter_context(views.connect(root))
        units, tally.left = refit_units(con, spec, spec_text)
        units = _whole(root, units, tally)
        files = UnitFiles(con, folder)
        con.execute(columns_statement())
        query = _query()
        is_worth_it = workers > 1 and sum(unit.num_layers for unit in units) > POOL_ABOVE
        crew = stack.enter_context(_crew(workers)) if is_worth_it else None
        pen = None if dry_run else Pen(root, con, files, name=NAME)
        status = "interrupted"
        try:
            for batch in _recomputed(con, files, units, query, crew, tally):
                written = list(_to_write(batch, tally))
                tally.num_written += len(written)
                if pen is not None:
                    pen.commit([(unit, refitted(changes)) for unit, changes in written])
            status = "done"
        finally:
            if pen is not None:
                _close(pen, status)
    return tally


def _close(pen: Pen, status: str) -> None:
    """Say how it ended; on a full disk what the caller hears is where it became full."""
    with suppress(DiskFullError) if status == "interrupted" else nullcontext():
        pen.close(status)


def _whole(root: str, units: list[RefitUnit], tally: Tally) -> list[RefitUnit]:
    """The units that have all their rows: what lacks some would be committed as if it were whole."""
    lacks = {lack.key: lack for lack in lacking(root)}
    whole = []
    for unit in units:
        lack = lacks.get(UnitKey(**{name: unit.keys[name] for name in UNIT}))
        if lack is None:
            whole.append(unit)
        else:
            tally.left.append(LeftOut(unit.keys["model_id"], f"{lack}; sweep it again"))
    return whole


@contextmanager
def _crew(workers: int) -> Iterator[Crew]:
    """Worker processes that compute slices while this one reads and writes."""
    runner: LocalRunner[Slice, Recomputed | ZooError]
    runner = LocalRunner(REFITTING, workers=workers, start_method="forkserver", ahead=1)
    try:
        with closing(runner), closing(Feeder(runner)) as crew:
            yield crew
    except WorkerDiedError as error:
        raise WorkerDiedError(
            "a worker process was killed (the kernel does this when memory runs out); the units "
            "written so far are whole: run the same command again, with fewer --workers if memory "
            "is short"
        ) from error


def _batches(units: Sequence[RefitUnit]) -> Iterator[list[RefitUnit]]:
    """Runs of units that lie in the same generation, of a few thousand layers each."""
    batch: list[RefitUnit] = []
    for unit in units:
        layers = sum(u.num_layers for u in batch) + unit.num_layers
        if batch and (
            unit.generation != batch[0].generation
            or layers > _BATCH_LAYERS
            or len(batch) >= _BATCH_UNITS
        ):
            yield batch
            batch = []
        batch.append(unit)
    if batch:
        yield batch


def _to_write(batch: _Batch, tally: Tally) -> Iterator[tuple[RefitUnit, Mapping[int, LayerChange]]]:
    """Units that are new or have a number that moved; incomplete ones are left out and noted."""
    for number, unit in enumerate(batch.units):
        num_layers, changes = batch.counts[number], batch.changes.get(number, {})
        model = unit.keys["model_id"]
        if num_layers != unit.num_layers:
            why = f"{model} has {num_layers} of {unit.num_layers} spectra; sweep it again"
            tally.left.append(LeftOut(model, why))
            continue
        tally.num_units += 1
        if unit.is_new or changes:
            yield unit, changes


def _recomputed(
    con: duckdb.DuckDBPyConnection,
    files: UnitFiles,
    units: Sequence[RefitUnit],
    query: str,
    crew: Crew | None,
    tally: Tally,
) -> Iterator[_Batch]:
    """The batches of `units`, recomputed.

    Each is handed out when the next one has been read, so that the workers have work meanwhile; the
    connection is free then.
    """
    before: _Batch | None = None
    for run in _batches(units):
        batch, orders = _Batch(run, tally), [unit.change for unit in run]
        for rows in _read(con, files, run, query):
            if crew is None:
                batch.take(refit_slice(rows, orders))
            else:
                batch.add(crew.submit(Slice(rows.schema, rows.serialize(), orders)))
        if before is not None:
            before.finish()
            yield before
        before = batch
    if before is not None:
        before.finish()
        yield before


@dataclass(slots=True)
class _Batch:
    """Units that are read together, and what was computed of them so far."""

    units: list[RefitUnit]
    tally: Tally
    counts: Counter[int] = field(default_factory=Counter)
    """Layers recomputed, by number of the unit."""
    changes: dict[int, dict[int, LayerChange]] = field(default_factory=dict)
    """The changed ones, by number of the unit and layer_index."""
    pending: set[Future[Recomputed | ZooError]] = field(default_factory=set)

    def take(self, result: Recomputed | ZooError) -> None:
        """Add what came out of one slice; an error is raised."""
        if isinstance(result, ZooError):
            raise result
        self.tally.add(result)
        self.counts.update(result.units)
        for (number, layer_index), change in result.changes.items():
            self.changes.setdefault(number, {})[layer_index] = change

    def add(self, result: Future[Recomputed | ZooError]) -> None:
        """Wait for one more slice; at once, where too many are on the way."""
        self.pending.add(result)
        if len(self.pending) > _PENDING:
            ended, self.pending = wait(self.pending, return_when=FIRST_COMPLETED)
            for future in ended:
                self.take(future.result())

    def finish(self) -> None:
        """Wait for the rest."""
        for future in self.pending:
            self.take(future.result())
        self.pending.clear()


def _query() -> str:
    """The layers of $units that have a spectrum, with it, from $layers and $spectra."""
    stored = ", ".join(f"l.{name}" for name in ("layer_index", *_STORED))
    return (
        f"select u.unit_no, {stored}, {', '.join(f's.{name}' for name in _SPECTRA)} "
        f"from read_parquet($spectra, schema = getvariable('zoo_columns')['spectra'], "
        f"hive_partitioning = false) s "
        f"join stored_units u using ({KEYS}) "
        f"join read_parquet($layers, schema = getvariable('zoo_columns')['layers'], "
        f"hive_partitioning = false) l "
        f"using ({KEYS}, layer_index) where l.status = 'ok'"
    )


def _read(
    con: duckdb.DuckDBPyConnection, files: UnitFiles, units: list[RefitUnit], query: str
) -> Iterator[pa.RecordBatch]:
    """The layers of `units` that have a spectrum, with it, in slices."""
    register(con, units)
    layers = con.sql(
        query, params={table: files.of(table, units) for table in ("spectra", "layers")}
    )
    for rows in layers.to_arrow_reader(_READ):
        for start in range(0, rows.num_rows, _SLICE):
            yield rows.slice(start, _SLICE)
