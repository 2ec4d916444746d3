"""`zoo analyze`: one source -> a report, a file, pictures. No cluster and no catalog."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from zoo.api import Report, analyze
from zoo.errors import UseError
from zoo.heap import return_large_arrays
from zoo.options import AnalysisOptions
from zoo.threads import set_threads


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the command prints and writes."""

    report: Report

    @property
    def layers(self) -> list[dict[str, object]]:
        """Every column of every layer."""
        return self.report.layers

    def summary(self) -> str:
        """One line for people: layers by status, stored tensors by fate, traps."""
        status = Counter(str(row["status"]) for row in self.layers)
        fates = Counter(entry.fate for entry in self.report.entries)
        layers = ", ".join(f"{n} {s}" for s, n in sorted(status.items())) or "none"
        tensors = ", ".join(f"{n} {f}" for f, n in sorted(fates.items())) or "none"
        return (
            f"{self.report.model_id}@{self.report.revision[:12]}: layers: {layers}; stored tensors: {tensors}; "
            f"{len(self.report.traps)} traps"
        )

    def write_parquet(self, path: Path) -> None:
        """All columns, with the schema of the table `layers` without the common keys."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from catalog.schema import arrow_schema

        names = list(self.layers[0]) if self.layers else []
        known = {field.name: field for field in arrow_schema("layers")}
        schema = pa.schema([known[name] for name in names])
        try:
            pq.write_table(pa.Table.from_pylist(self.layers, schema=schema), path)
        except OSError as error:
            raise UseError(f"--out: cannot write {str(path)!r}: {error}") from error

    def write_plots(self, folder: Path) -> list[Path]:
        """PNG files; their paths."""
        names = self.report.plot(folder)
        return [folder / f"{name}.png" for name in names]


def check_outputs(parquet: Path | None, pictures: Path | None) -> None:
    """UseError for files that could not be written, said before anything is measured."""
    if parquet is not None and (parquet.is_dir() or not parquet.parent.is_dir()):
        raise UseError(f"--out: got {str(parquet)!r}; wanted a file in a folder that is there")
    if pictures is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UseError("--plot needs matplotlib: pip install 'spectral-zoo[plot]'")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UseError(
            f"--plot: got {str(pictures)!r}: {error.strerror}; wanted a folder to write to"
        ) from error


def analyse_source(source: str, *, options: AnalysisOptions, threads: int) -> Analysis:
    """Measure the model behind a path or Hub id."""
    set_threads(threads)
    return_large_arrays()
    return Analysis(analyze(locate_one(source), options=options))


def locate_one(source: str) -> str:
    """`source`, if it is one model; UseError for a folder that holds several."""
    from jobs.targets import targets_of_path

    if source and Path(source).is_dir():
        found = targets_of_path(source)
        if len(found) > 1:
            names = ", ".join(t.model_id for t in found[:3])
            raise UseError(
                f"{source} holds {len(found)} models ({names}, ...); wanted one: name its folder, or sweep them all "
                "with `zoo sweep`"
            )
    return source
