"""Measures model weights: spectra, power-law tails, Correlation Traps, the ERG condition.

    import zoo

    report = zoo.analyze("path/to/model")       # a folder, a file, a Hub id, a state dict or a module
    report.to_pandas()[["tensor", "alpha", "num_traps"]]

Public names are loaded when first used, so that importing `zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.api import Report, analyze
    from zoo.options import AnalysisOptions, LayerSelection

_HOMES = {
    "AnalysisOptions": "zoo.options",
    "LayerSelection": "zoo.options",
    "Report": "zoo.api",
    "analyze": "zoo.api",
}

__all__ = ["AnalysisOptions", "LayerSelection", "Report", "analyze"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
