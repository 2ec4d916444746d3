"""The shapes that annotations promise are checked at every call while the tests run."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

import zoo.spectral
from zoo.spectral.incumbent import linear_density
from zoo.spectral.krylov import block_width, top_spectrum
from zoo.spectral.localisation import Mode

CHECKED = [
    *(f"zoo.spectral.{module.name}" for module in pkgutil.iter_modules(zoo.spectral.__path__)),
    *(f"zoo.measure.{name}" for name in ("batch", "layer", "shuffles")),
]
"""Modules whose calls are checked, as `--jaxtyping-packages` in pyproject.toml says."""


def functions_of(module: ModuleType) -> Iterator[Callable[..., object]]:
    """Every function and method that the module defines itself."""
    for _, value in inspect.getmembers(module):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            methods = (f for _, f in inspect.getmembers(value, inspect.isfunction))
            yield from (f for f in methods if f.__module__ == module.__name__)
        elif inspect.isfunction(value):
            yield value


def test_a_matrix_in_place_of_a_vector_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="linear_density"):
        linear_density(np.ones((3, 3)), np.ones(5), 0.1)


def test_a_stack_in_place_of_a_matrix_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="top_spectrum"):
        top_spectrum(
            torch.ones(2, 20, 10),
            rng=np.random.default_rng(0),
            wanted=lambda _: 1,
            vectors=False,
            tolerance=1e-3,
            max_passes=3,
        )


def test_float32_in_place_of_float64_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="linear_density"):
        linear_density(np.ones(3, dtype=np.float32), np.ones(5), 0.1)


def test_a_field_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="Mode"):
        Mode(1.0, np.ones(3), np.ones((4, 1)))


def test_types_that_are_no_arrays_are_checked_too() -> None:
    with pytest.raises(TypeCheckError, match="block_width"):
        block_width("20")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CHECKED)
def test_every_annotation_can_be_resolved(name: str) -> None:
    """A name that is not there while the module runs would leave its function unchecked in silence."""
    for function in functions_of(importlib.import_module(name)):
        typing.get_type_hints(function)
