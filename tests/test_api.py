"""`zoo.analyze` in a notebook: what it takes, what it says of the rest, and what a report becomes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import UseError
from zoo.options import AnalysisOptions, LayerSelection

FAST = AnalysisOptions(shuffle="none")


def weights(*names: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(30, 24, generator=generator) for name in names}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (5, "got a int; wanted a path, a Hub id, a state dict"),
        (torch.ones(3, 3), "got a Tensor; .*'name.weight': tensor"),
        (None, "got a NoneType"),
        (torch.nn.Linear, "got a type"),
        ({"a.weight": np.ones((3, 3))}, r"torch.from_numpy"),
        ({"state_dict": {"a.weight": torch.ones(3, 3)}}, r"checkpoint\['state_dict'\]"),
        ({"a.weight": torch.ones(3, 3).to_sparse()}, "to_dense"),
        ({0: torch.ones(3, 3)}, "under 0; wanted names"),
        ("", "empty path"),
    ],
)
def test_sources_of_another_kind_are_refused_by_name(source: object, words: str) -> None:
    with pytest.raises(UseError, match=words):
        zoo.analyze(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: AnalysisOptions(shuffle="foo"),
            "shuffle: got 'foo'; wanted one of 'auto', 'full'",
        ),
        (lambda: AnalysisOptions(metrics="foo"), "metrics"),
        (lambda: AnalysisOptions(device="gpu"), "device.*'cuda'"),
        (lambda: AnalysisOptions(device=0), "device: got 0"),
        (lambda: AnalysisOptions(seed=-1), "seed: got -1; wanted a whole number, 0 or more"),
        (lambda: AnalysisOptions(seed="x"), "seed"),
        (lambda: AnalysisOptions(replicates=0), "replicates: got 0; .*1 or more"),
        (lambda: AnalysisOptions(bootstrap=-1), "bootstrap"),
        (lambda: AnalysisOptions(level=2.0), "level"),
        (lambda: AnalysisOptions(level=float("nan")), "level"),
        (lambda: LayerSelection(fused="foo"), "fused"),
        (lambda: LayerSelection(adapters="foo"), "adapters"),
        (lambda: LayerSelection(experts="sample:0"), "sample:N"),
        (lambda: LayerSelection(min_evals=0), "min_evals"),
        (lambda: LayerSelection(include="*.mlp.*"), "globs in a tuple"),
        (lambda: zoo.analyze({}, options={"seed": 1}), "options: got a dict; wanted zoo.Analysis"),
        (lambda: zoo.analyze({}, selection=["*"]), "selection: got a list"),
        (lambda: zoo.analyze({}, config=[1]), "config: got a list"),
        (lambda: zoo.analyze("folder", config={}), "config: got it with a path"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    make: Callable[[], object], words: str
) -> None:
    """A bare string of globs used to match everything, by the `*` among its letters."""
    with pytest.raises(UseError, match=words):
        make()


def test_globs_may_be_a_list() -> None:
    selection = LayerSelection(include=["a.*"])  # type: ignore[arg-type]
    report = zoo.analyze(weights("a.weight", "b.weight"), options=FAST, selection=selection)
    assert [row["tensor"] for row in report.layers] == ["a.weight"]


def test_a_report_says_in_one_line_what_it_holds() -> None:
    state = {**weights("a.weight"), "b.weight": torch.full((30, 24), float("nan"))}
    text = repr(zoo.analyze(state, options=FAST))
    assert text == "<Report dict@memory: layers: 1 failed, 1 ok; 0 traps>"


def test_tables_of_a_model_without_layers_have_all_columns() -> None:
    report, full = zoo.analyze({"a.bias": torch.ones(3)}), zoo.analyze(weights("a.weight"))
    for empty, other in (
        (report.to_pandas(), full.to_pandas()),
        (report.to_arrow().to_pandas(), full.to_arrow().to_pandas()),
    ):
        assert len(empty) == 0 and list(empty.columns) == list(other.columns)
        assert list(other.columns) == list(full.layers[0])


def test_tables_of_two_models_can_be_joined() -> None:
    import pyarrow as pa

    tables = [
        zoo.analyze(s).to_arrow() for s in (weights("a.weight"), {"z.weight": torch.ones(3, 3)})
    ]
    assert pa.concat_tables(tables, promote_options="permissive").num_rows == 2


def test_pictures_go_to_a_folder_that_can_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = zoo.analyze(weights("a/b.weight"), options=FAST)
    files = report.plot(tmp_path / "deep" / "folder", layers=[0])
    assert set(files) == {"all_layers", "alpha_by_depth", "funnel", "layer_000_a_b.weight"}
    assert all(file.stat().st_size > 1000 for file in files.values())
    (tmp_path / "file").write_text("")
    with pytest.raises(UseError, match=r"file' for pictures: .*; wanted a folder"):
        report.plot(tmp_path / "file")


@pytest.mark.parametrize("name", ["pandas", "pyarrow", "matplotlib"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = zoo.analyze(weights("a.weight"), options=FAST)
    monkeypatch.setitem(sys.modules, name, None)
    methods = {"pandas": report.to_pandas, "pyarrow": report.to_arrow, "matplotlib": report.figures}
    with pytest.raises(UseError, match=f"{name} is not installed; `pip install {name}`"):
        methods[name]()


def test_one_of_several_devices_may_be_named() -> None:
    assert AnalysisOptions(device="cuda:1").device == "cuda:1"
