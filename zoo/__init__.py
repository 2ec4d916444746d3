"""Measures model weights: spectra, power-law tails, Correlation Traps, the ERG condition.

    import zoo

    report = zoo.analyze("path/to/model")       # a folder, a file, a Hub id, a state dict or a module
    report.to_pandas()[["tensor", "alpha", "num_traps"]]

    catalog = zoo.open("results")               # what sweeps have written
    catalog.board("traps")

Public names are loaded when first used, so that importing `zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.api import analyze
    from zoo.catalogs import Catalog, open
    from zoo.options import AnalysisOptions, LayerSelection
    from zoo.probes.removal import RemovedTraps, remove_traps
    from zoo.report import Report
    from zoo.summary import Summary

_HOMES = {
    "AnalysisOptions": "zoo.options",
    "Catalog": "zoo.catalogs",
    "LayerSelection": "zoo.options",
    "RemovedTraps": "zoo.probes.removal",
    "Report": "zoo.report",
    "Summary": "zoo.summary",
    "analyze": "zoo.api",
    "open": "zoo.catalogs",
    "remove_traps": "zoo.probes.removal",
}

__all__ = [
    "AnalysisOptions", "Catalog", "LayerSelection", "RemovedTraps", "Report", "Summary", "analyze", "open",
    "remove_traps",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "callbacks":
        return importlib.import_module("zoo.callbacks")
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
