"""Values beside the weights in a pickle: options, streams, dates. They are inert; functions are refused."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import pathlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Zoo

INERT = {
    "namespace": argparse.Namespace(model="DiT-XL/2", lr=1e-4),
    "stream": io.BytesIO(b"x" * 32),
    "default": collections.defaultdict(list, a=[1]),
    "queue": collections.deque([1, 2], maxlen=3),
    "counter": collections.Counter("aab"),
    "path": pathlib.PurePosixPath("/a/b"),
    "scalar": np.float64(1.5),
    "array": np.arange(3),
    "time": datetime.datetime(2020, 1, 1),
    "set": frozenset({1}),
}


@pytest.mark.parametrize("name", INERT)
def test_an_inert_value_beside_the_weights_does_not_matter(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal((24, 16)))
    torch.save({"model": {"q.weight": weights}, "args": INERT[name]}, tmp_path / "m.pt")
    assert zoo("analyze", tmp_path / "m.pt", "--shuffle", "none") == 0
    assert "q.weight" in capsys.readouterr().out


def test_a_tensor_inside_an_inert_value_is_seen(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal((24, 16)))
    torch.save({"args": argparse.Namespace(basis=weights)}, tmp_path / "m.pt")
    assert zoo("analyze", tmp_path / "m.pt", "--shuffle", "none") == 0
    assert "args.basis" in capsys.readouterr().out


class Shell:
    """Runs a command when a careless reader loads it."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1/0",)


class Reducer:
    """A function of the standard library under a harmless stand-in's state."""

    def __reduce__(self) -> tuple[object, ...]:
        return argparse.Namespace, (), {"inside": Shell()}


@pytest.mark.parametrize("value", [Shell(), Reducer(), {"a": [Shell()]}])
def test_what_would_run_is_refused_with_its_name(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], value: object
) -> None:
    torch.save({"w": torch.ones(8, 8), "x": value}, tmp_path / "m.pt", pickle_module=pickle)
    assert zoo("analyze", tmp_path / "m.pt", "--shuffle", "none") == 1
    assert "__builtin__.eval" in capsys.readouterr().err
