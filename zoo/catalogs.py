"""`zoo.open`: a catalog in Python, as DataFrames.

This package measures and knows no tables: here is said what an open catalog offers, and the half of
the project that knows catalogs is looked up by its name when one is opened.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

_KNOWS_CATALOGS: Final = "jobs.notebook"
"""The module that opens catalogs, by its function `open_catalog`."""


class Catalog(Protocol):
    """What sweeps have written, as pandas DataFrames; `docs/tables.md` says what each column means.

    Every question is answered from the files as they are at that moment, also while sweeps write.
    A DataFrame has NaN where a number is missing; `arrow` keeps NULL and whole numbers apart.
    """

    @property
    def models(self) -> Any:
        """One row per model: its newest revision and analysis."""

    @property
    def layers(self) -> Any:
        """One row per layer of every revision, by its newest analysis."""

    @property
    def traps(self) -> Any:
        """One row per trap of these layers."""

    @property
    def boards(self) -> Mapping[str, Any]:
        """Every leaderboard by name: `traps`, `alignment`, `alpha`, ..."""

    def board(
        self,
        name: str,
        *,
        top: int | None = None,
        where: str | None = None,
        family: str | None = None,
        within: Literal["family", "size", "architecture", "none"] | None = None,
        by: str | None = None,
        dequantised: Literal["all", "none", "only"] = "all",
        source: str | None = None,
        since: str | None = None,
        analysis: str | None = None,
        min_layers: int = 5,
    ) -> Any:
        """A leaderboard as `zoo rank` prints it, which explains the options; `attrs` has its title and
        direction. Models without a rank come last, with the reason."""

    def show(self, model: str) -> Any:
        """The layers of one model, of which `id`, `id@revision` or `id@step100` is given."""

    def compare(self, a: str, b: str) -> Any:
        """Two models layer by layer; deltas are b minus a."""

    def plot(
        self, model: str, folder: str | os.PathLike[str], layers: Iterable[str | int] = ()
    ) -> Mapping[str, Path]:
        """Write the pictures of a model, from its stored spectra: see `zoo.Report.plot`."""

    def sql(self, query: str, values: Mapping[str, object] | None = None) -> Any:
        """The rows of a DuckDB query over all tables and views; `values` fill `$names` in it."""

    def ask(self, name: str, **parameters: object) -> Any:
        """The answer to a named question, as `zoo ask` gives it: `ask("top", family="llama")`."""

    def arrow(self, query: str, values: Mapping[str, object] | None = None) -> Any:
        """As `sql`, as a pyarrow Table."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables and views that `sql` knows, by name."""


def open(root: str | os.PathLike[str]) -> Catalog:
    """The catalog in a folder or behind an fsspec URL. NotACatalogError when there is none."""
    return cast(Catalog, importlib.import_module(_KNOWS_CATALOGS).open_catalog(root))
