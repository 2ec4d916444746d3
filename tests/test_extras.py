"""The optional fits reach their columns, and only when asked for."""

from __future__ import annotations

import pytest
import torch

from zoo.columns import names_of
from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions
from zoo.spectral.extras import TailExtras
from zoo.spectral.farms import Farms

ALL = AnalysisOptions(
    shuffle="none", farms=True, alternatives=True, bootstrap=20, clip_fingers=True
)


def heavy(scale: float = 1.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    rows = torch.exp(torch.randn(120, 1, generator=rng, dtype=torch.float64))
    return (torch.randn(120, 60, generator=rng, dtype=torch.float64) * rows * scale)[None]


def columns(matrices: torch.Tensor, options: AnalysisOptions) -> dict[str, object]:
    key = ("revision", "tensor", "", "")
    found = measure_layer(matrices, options=options, seed_key=key, storage_bits=64).columns
    return {name: found[name] for name in (*names_of(TailExtras), *names_of(Farms))}


def test_by_default_no_optional_fit_is_made() -> None:
    found = columns(heavy(), AnalysisOptions(shuffle="none"))
    assert set(found.values()) == {None}


def test_every_optional_fit_fills_its_columns() -> None:
    found = columns(heavy(), ALL)
    assert [name for name, value in found.items() if value is None] == []


def test_ratios_do_not_change_with_scale_and_rates_do() -> None:
    one, huge = columns(heavy(), ALL), columns(heavy(2.0**100), ALL)
    for name in ("tpl_alpha", "lognormal_ratio", "exponential_p_value", "gof_p_value"):
        assert huge[name] == pytest.approx(one[name], rel=1e-9)
    assert huge["exponential_rate"] == pytest.approx(
        float(str(one["exponential_rate"])) * 2.0**-200
    )


def test_the_bootstrap_is_seeded_by_the_layer() -> None:
    assert columns(heavy(), ALL)["gof_p_value"] == columns(heavy(), ALL)["gof_p_value"]
