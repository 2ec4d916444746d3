"""What a plan says of the time: roughly what is spent, calibrated once a machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from jobs.units import speed
from jobs.units.cost import layer_seconds
from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions

DEFAULT = AnalysisOptions()


def seconds(n: int = 768, m: int = 192, *, slices: int = 1, options: AnalysisOptions = DEFAULT) -> float:  # fmt: skip
    return layer_seconds(n, m, num_slices=slices, options=options)


def test_an_estimate_is_of_the_size_of_what_is_spent() -> None:
    """The bar, a factor of 2, is held by `benchmarks.estimates`; here neighbours may have a say."""
    layers = [torch.randn((768, 192), generator=torch.Generator().manual_seed(i)) for i in range(8)]
    for trapped in layers[:2]:
        trapped[0, 0] = 130.0
    measure_layer(layers[0][None], options=DEFAULT, seed_key=("warm",), storage_bits=32)
    started = time.process_time()
    for number, layer in enumerate(layers):
        key = ("w", "", "", str(number))
        measure_layer(layer[None], options=DEFAULT, seed_key=key, storage_bits=32)
    spent = time.process_time() - started
    estimate = 8 * seconds() * speed.measure() / speed.REFERENCE_S
    assert 0.2 < estimate / spent < 5.0


def test_more_work_is_estimated_to_take_longer() -> None:
    assert seconds(options=AnalysisOptions(metrics="tail")) < seconds()
    assert seconds(options=AnalysisOptions(shuffle="none")) < seconds()
    assert seconds() < seconds(options=AnalysisOptions(replicates=5))
    assert seconds() < seconds(slices=9) < 9 * seconds()


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = speed.slowness(tmp_path)
    monkeypatch.setattr(speed, "measure", lambda: pytest.fail("measured again"))
    assert speed.slowness(tmp_path) == first


@pytest.mark.parametrize("kept", ["{}", "no json", '{"another machine": 1.0}', "[1]"])
def test_what_the_cache_does_not_tell_is_measured(tmp_path: Path, kept: str) -> None:
    (tmp_path / "speed.json").write_text(kept)
    measured = speed.slowness(tmp_path)
    assert list(json.loads((tmp_path / "speed.json").read_text()).values()) == [measured]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert speed.slowness(tmp_path / "file" / "folder") > 0.0
