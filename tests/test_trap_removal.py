"""Traps taken out of a module, undone to the bit; and out of a model's folder, written anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import zoo as library
from tests.conftest import Zoo
from tests.test_probes import put_mlp, spiked
from zoo.errors import UseError

Output = pytest.CaptureFixture[str]


def network() -> torch.nn.Sequential:
    layers = torch.nn.Sequential(
        torch.nn.Linear(40, 48),
        torch.nn.ReLU(),
        torch.nn.Linear(48, 48),
        torch.nn.Conv2d(48, 40, 2),
    )
    with torch.no_grad():
        layers[0].weight.copy_(spiked(48, 40, seed=1))
        layers[2].weight.copy_(spiked(48, 48, seed=2))
    return layers


def traps_of(module: torch.nn.Module, layer: str) -> float:
    options = library.AnalysisOptions(replicates=1)
    rows = library.analyze(module, options=options).layers
    return next(float(row["num_traps"]) for row in rows if row["tensor"] == layer)  # type: ignore[arg-type]


def test_removed_traps_are_gone_and_come_back() -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert traps_of(module, "0.weight") == 1
    with library.remove_traps(module, ("0.*",)) as traps:
        assert [(t.tensor, t.trap_index) for t in traps.removed] == [("0.weight", 1)]
        assert traps_of(module, "0.weight") == 0
        assert torch.equal(module.state_dict()["2.weight"], before["2.weight"])
        assert abs(float(module.state_dict()["0.weight"][1, 2])) < 1
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_globs_that_match_nothing_are_bad_use() -> None:
    with pytest.raises(UseError, match="match no layer"):
        library.remove_traps(network(), ("nosuch.*",))


@pytest.fixture
def catalog(tmp_path: Path, zoo: Zoo, capsys: Output) -> Path:
    folder = put_mlp(tmp_path / "zoo" / "one")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# One\n")
    (folder / "tokenizer.json").write_text("{}")
    assert zoo("sweep", folder, "--out", tmp_path / "cat", "-j", 1, "--quiet") == 0
    capsys.readouterr()
    return tmp_path / "cat"


def test_a_model_is_written_without_a_trap_and_says_so(
    catalog: Path, zoo: Zoo, capsys: Output, tmp_path: Path
) -> None:
    arguments = (
        "probe",
        catalog,
        "one",
        "--ablate",
        "fc1.weight:1,1:1",
        "--save",
        tmp_path / "out",
    )
    assert zoo(*arguments) == 0
    assert "replaced fc1.weight: trap 1" in capsys.readouterr().err
    before = load_file(tmp_path / "zoo" / "one" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    changed = sorted(name for name in before if not torch.equal(before[name], after[name]))
    assert changed == ["fc1.weight", "fc2.weight"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit") and "fc2.weight: trap 1" in card
    assert (tmp_path / "out" / "tokenizer.json").exists()
    zoo("analyze", tmp_path / "out", "--format", "json")
    rows = {row["tensor"]: row["num_traps"] for row in json.loads(capsys.readouterr().out)}
    assert rows["fc1.weight"] == 0 and rows["fc3.weight"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ablate", "fc1.weight:9", "--save", "{new}"), "the traps of that layer are 1"),
        (("--ablate", "fc1.weight", "--save", "{new}"), "wanted LAYER:TRAP"),
        (("--ablate", "fc1.weight:1"), "wanted both"),
        (("--ablate", "fc1.weight:1", "--save", "{old}"), "wanted a new folder"),
    ],
)
def test_bad_use_is_named_and_writes_nothing(
    catalog: Path, zoo: Zoo, capsys: Output, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    places = {"{new}": str(tmp_path / "new"), "{old}": str(tmp_path / "zoo")}
    assert zoo("probe", catalog, "one", *(places.get(a, a) for a in arguments)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
