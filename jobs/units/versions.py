"""Versions of what computes and stores the numbers; no package is imported to tell its own."""

from __future__ import annotations

import importlib.metadata
import json
import platform

from zoo.version import NUMBERS_VERSION

_PACKAGES = (
    "spectral-zoo",
    "numpy",
    "scipy",
    "torch",
    "pyarrow",
    "duckdb",
    "ray",
    "huggingface_hub",
)
"""Packages whose versions are kept beside the numbers."""


def versions() -> str:
    """JSON of the packages that compute and store the numbers."""
    version_of: dict[str, str | int] = {
        "python": platform.python_version(),
        "numbers": NUMBERS_VERSION,
    }
    for package in _PACKAGES:
        try:
            version_of[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return json.dumps(version_of, sort_keys=True)
